// Package receive is the receivers that the benchmark brings along: the limit of each path, since they do
// nothing with what they receive but count it.
//
//	Drop   AF_XDP: takes frames out of the ring and gives them back, without a look at them
//	Count  kernel sockets: recvmmsg, without a look at the datagrams
//	Alerts kernel socket: notes when alerts come that a gateway sends
//	Pump   posts as many bytes to a sink as came in, so that a limit is measured beside the load that a
//	       gateway puts on the sink
//
// Each is run by a process of its own and tells what it counted over HTTP.
package receive

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
)

// cacheLine keeps what two threads write apart.
const cacheLine = 64

// Tally is what one receiving thread has counted. The thread writes, everybody may read.
type Tally struct {
	packets, bytes atomic.Uint64
	_              [cacheLine - 16]byte
}

// add is one store each: there is one writer.
func (t *Tally) add(packets, bytes uint64) {
	t.packets.Store(t.packets.Load() + packets)
	t.bytes.Store(t.bytes.Load() + bytes)
}

// Tallies are those of all threads of a receiver.
type Tallies []Tally

// Sums is the document of GET /stats.
type Sums struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"` // as the receiver sees packets: with headers by AF_XDP, without by sockets
}

// Sum adds all threads up.
func (t Tallies) Sum() Sums {
	var sums Sums
	for i := range t {
		sums.Packets += t[i].packets.Load()
		sums.Bytes += t[i].bytes.Load()
	}
	return sums
}

// ServeHTTP answers every request with the sums.
func (t Tallies) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	// An error means that whoever asked has gone.
	_ = json.NewEncoder(w).Encode(t.Sum())
}
