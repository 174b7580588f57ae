package dataplane

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/bpf/abi"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
	"culvert/dataplane/udp"
	"culvert/numa"
)

// workerConfig is a worker on any CPU that writes to a server.
func workerConfig(t testing.TB, server string, sockets bool) Config {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := influx.Target(influx.TargetConfig{URL: u, Database: "telemetry"})
	if err != nil {
		t.Fatal(err)
	}
	writer.Address = netip.MustParseAddrPort(u.Host)
	writer.Connections, writer.Timeout = 2, 5*time.Second
	writer.Retry = influx.Retry{Attempts: 3, First: 10 * time.Millisecond, Max: time.Second}
	exchange, err := NewExchange(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(exchange.Close)
	alerts, err := NewAlerts()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alerts.Close() })
	addresses := new(atomic.Pointer[Addresses])
	addresses.Store(&Addresses{nil})
	return Config{
		Name: "test", CPU: -1, Node: -1, Wait: WaitSleep, Batch: 64, Addresses: addresses,
		Listeners: []Listener{{Port: 8089, Precision: lineproto.Nanosecond, MaxAhead: int64(time.Minute)}},
		Exchange:  exchange, Alerts: alerts, Samples: spsc.New[Sample](SampleSlots),
		Sinks: []SinkConfig{{
			Writers: []influx.Config{writer}, Batches: 8, BatchBytes: 1 << 20, BatchPoints: 10_000,
			Linger: 200_000, Age: 5_000_000,
			HugePages: numa.HugeOff, Sockets: sockets,
		}},
	}
}

// frame is a received frame as it lies in UMEM: metadata, then Ethernet, IPv4 and UDP around a payload.
func frame(payload string, arrival int64) (packet, metadata []byte) {
	memory := make([]byte, abi.MetaSize+14+20+8+len(payload))
	metadata, packet = memory[:abi.MetaSize], memory[abi.MetaSize:]
	ip, udp := packet[14:], packet[34:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	copy(ip[12:], []byte{10, 88, 0, 2, 10, 88, 0, 1})
	binary.BigEndian.PutUint16(ip[10:], ^plainSum(ip[:20]))
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], 8089)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	copy(udp[8:], payload)
	stamp(packet, metadata, payload, arrival)
	return packet, metadata
}

// stamp fills in what the XDP program writes, and the UDP checksum.
func stamp(packet, metadata []byte, payload string, arrival int64) {
	udp := packet[34:]
	udp[6], udp[7] = 0, 0
	pseudo := append(append([]byte(nil), packet[26:34]...), 0, 17, udp[4], udp[5])
	binary.BigEndian.PutUint16(udp[6:], ^plainSum(pseudo, udp))
	binary.LittleEndian.PutUint32(metadata, abi.Magic)
	binary.LittleEndian.PutUint16(metadata[4:], 42)
	binary.LittleEndian.PutUint16(metadata[6:], uint16(len(payload)))
	binary.LittleEndian.PutUint64(metadata[8:], uint64(arrival))
	binary.LittleEndian.PutUint16(metadata[20:], 14)
	binary.LittleEndian.PutUint16(metadata[22:], 34)
	binary.LittleEndian.PutUint16(metadata[24:], uint16(len(packet)))
	metadata[26] = 4
}

func TestOpenFrame(t *testing.T) {
	const text = "m v=1 1"
	f := func(want FrameReject, policy ChecksumPolicy, spoil func(packet, metadata []byte) []byte) {
		t.Helper()
		packet, metadata := frame(text, 77)
		packet = spoil(packet, metadata)
		payload := Payload{Source: [16]byte{1}, SourcePort: 9, CardTime: 5, CardTold: true}
		var c Counters
		if got := openFrame(&payload, packet, metadata, policy, &c); got != want {
			t.Fatalf("reject %d, want %d", got, want)
		}
		// Rejects are told with their sender where there is one, and never with the one before.
		port := uint16(40000)
		if want == FrameNoMetadata || want == FrameLength {
			port = 0
		}
		if payload.SourcePort != port || payload.Source[0] != 0 {
			t.Fatalf("reject %d of %v:%d", want, payload.Source, port)
		}
		if want == FrameRejects && (string(payload.Bytes) != text || payload.Arrival != 77 ||
			payload.CardTold ||
			netip.AddrFrom16(payload.Source).Unmap().String() != "10.88.0.2" || payload.SourcePort != 40000) {
			t.Fatalf("payload is %+v", payload)
		}
		if got := openFrame(&payload, packet, metadata, policy, &c); got != FrameNoMetadata {
			t.Fatalf("a stale area is believed: %d", got)
		}
	}
	same := func(packet, _ []byte) []byte { return packet }
	f(FrameRejects, ChecksumVerify, same)
	f(FrameNoMetadata, ChecksumOff, func(p, m []byte) []byte { m[0]++; return p })
	f(FrameLength, ChecksumOff, func(p, m []byte) []byte { return p[:len(p)-1] })
	f(FrameLength, ChecksumOff, func(p, m []byte) []byte { m[6] = 200; return p })
	f(FrameLength, ChecksumOff, func(p, m []byte) []byte { m[22]--; return p })
	f(FrameLength, ChecksumOff, func(p, m []byte) []byte { m[20] = 30; return p })
	f(FrameChecksum, ChecksumVerify, func(p, m []byte) []byte { p[45] ^= 4; return p })
	f(FrameChecksum, ChecksumPartial, func(p, m []byte) []byte { p[45] ^= 4; return p })
	f(FrameHeaderChecksum, ChecksumVerify, func(p, m []byte) []byte { p[14+8]--; return p })
	f(FrameRejects, ChecksumVerify, func(p, m []byte) []byte { p[40], p[41] = 0, 0; return p })
	local := func(p, m []byte) []byte {
		pseudo := append(append([]byte(nil), p[26:34]...), 0, 17, p[38], p[39])
		binary.BigEndian.PutUint16(p[40:], plainSum(pseudo))
		return p
	}
	f(FrameRejects, ChecksumPartial, local)
	f(FrameChecksum, ChecksumVerify, local)
}

const benchRules = `temperature > 95.0 && tags.line == "a"`

// Goal: the whole way from a received frame to the open batch allocates nothing, rules and listener tags
// included. Method: a worker that was opened but does not run, fed by hand.
func TestFrameToBatchAllocatesNothing(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", true)
	config.Listeners[0].Tags = []Tag{{"site", "berlin"}}
	config.Listeners[0].SourceTag = "sender"
	set, wrong := rules.Compile([]rules.Group{{Name: rules.Text{Source: "g"}, Rules: []rules.Rule{{
		Alert: rules.Text{Source: "Hot"}, On: []rules.Text{{Source: "motor"}},
		Expr: rules.Text{Source: benchRules},
	}}}})
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	config.Rules = set
	config.RuleState = rules.Config{Workers: 1, Owners: 1, KeysMax: 1000}
	w := &Worker{config: config, links: config.Exchange, waker: config.Exchange.wakers[0],
		stages: new(Stages)}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.closeAll()
	text := strings.Repeat("motor,machine=m1,line=a temperature=21.5,name=\"a\\\"b\",n=5i 17000\n"+
		"motor,machine=m\\ 2,line=b temperature=97.5\nbad\n", 5)
	packet, metadata := frame(text, w.clock.Now())
	var payload Payload
	run := func() {
		binary.LittleEndian.PutUint32(metadata, abi.Magic)
		if reject := openFrame(&payload, packet, metadata, ChecksumVerify,
			&w.counters); reject != FrameRejects {
			t.Fatalf("the frame is rejected: %s", reject)
		}
		w.eat(&payload, true)
		if w.lanes[0].open != nil && w.lanes[0].open.Room() < 1<<16 {
			w.lanes[0].pool.Release(w.lanes[0].open)
			w.lanes[0].open = nil
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Fatalf("%g allocations a frame", n)
	}
	body := string(w.lanes[0].open.Body())
	for _, want := range []string{
		"motor,machine=m1,line=a,site=berlin,sender=10.88.0.2 temperature=21.5,name=\"a\\\"b\",n=5i 17000\n",
		"motor,machine=m\\ 2,line=b,site=berlin,sender=10.88.0.2 temperature=97.5 ",
	} {
		if !strings.Contains(body, want) {
			t.Fatalf("the batch lacks %q; it begins %q", want, body[:min(len(body), 300)])
		}
	}
	if w.counters.PointsRejected[lineproto.MissingFields] == 0 && w.counters.PointsIn() == 0 {
		t.Fatal("the bad line is not counted")
	}
}

// Goal: a worker takes datagrams from a kernel socket, writes them and accounts for each, over io_uring and
// over plain sockets; Drain leaves nothing behind. Method: a real server that counts lines.
func TestWorkerWritesWhatItReceives(t *testing.T) {
	for _, sockets := range []bool{false, true} {
		t.Run(fmt.Sprintf("sockets=%t", sockets), func(t *testing.T) {
			var lines atomic.Uint64
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				lines.Add(uint64(strings.Count(string(body), "\n")))
				rw.WriteHeader(http.StatusNoContent)
			}))
			defer server.Close()
			w, err := Start(workerConfig(t, server.URL, sockets))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			socket, err := udp.Open(udp.Config{Memory: make([]byte, udp.MemorySize(16)),
				ReceiveBuffer: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			w.config.Listeners[0].Port = socket.Port()
			if err := w.AddDoor(NewDoor(socket.Port(), socket)); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", socket.Port()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			const packets = 500
			for i := range packets {
				if _, err := fmt.Fprintf(conn, "m v=%d %d\nnonsense\nm v=2", i, i+1); err != nil {
					t.Fatal(err)
				}
				if i%100 == 99 {
					time.Sleep(time.Millisecond) // The worker falls asleep, so that waking is met, too.
				}
			}
			if err := w.Drain(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			c := w.Counters()
			if c.PointsWritten != 2*packets || lines.Load() != 2*packets || c.PointsIn() != 3*packets ||
				c.PointsIn() != c.PointsOut() || c.FramesReceived != packets || c.FramesDecoded != packets {
				t.Fatalf("%d lines in the server, counters %+v", lines.Load(), c)
			}
			states, err := w.SinkStates()
			want := map[bool]string{true: "sockets", false: "io_uring"}[sockets]
			if err != nil || len(states) != 1 || !states[0].Up || states[0].Transport != want {
				t.Fatalf("%+v, %v", states, err)
			}
		})
	}
}

// Goal: a sink that refuses to answer cannot hold up the end: Drain is over in time, and every point is
// accounted for. Method: a server that accepts and stays silent.
func TestDrainIsBounded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := workerConfig(t, "http://"+listener.Addr().String(), false)
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = w.Do(func() error {
		for range 1000 {
			packet, metadata := frame("m v=1 1\nm v=2 2", w.clock.Now())
			var payload Payload
			openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters)
			w.eat(&payload, false)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Drain(50 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c := w.Counters()
	if c.PointsDropped[DropUndelivered] != 2000 || c.PointsIn() != c.PointsOut() || c.PointsInFlight != 0 {
		t.Fatalf("%+v", c)
	}
}

// Goal: what finds no batch is dropped as overload and counted. Method: more points than all batches hold,
// towards a sink that is not there.
func TestOverloadIsCounted(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", false)
	config.Sinks[0].Batches, config.Sinks[0].BatchPoints = 2, 10
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = w.Do(func() error {
		for range 50 {
			packet, metadata := frame("m v=1 1", w.clock.Now())
			var payload Payload
			openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters)
			w.eat(&payload, false)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Do(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	c := w.Counters()
	if c.PointsDropped[DropOverload] != 30 || c.PointsInFlight != 20 || c.PointsIn() != c.PointsOut() {
		t.Fatalf("%+v", c)
	}
}

// The only pinned worker is alone while the slow path is silent; its first packet in a while gets a time
// later than the word of it.
func TestAloneWhileTheSlowPathIsSilent(t *testing.T) {
	links := &Exchange{}
	w := &Worker{links: links, config: Config{RuleState: rules.Config{Owners: 1}}}
	const start = int64(time.Hour)
	if !w.alone(start) {
		t.Error("not alone although the slow path had nothing yet")
	}
	if !links.slowWorks(start) || links.slowWorks(start+slowStep/2) || !links.slowWorks(start+slowStep) {
		t.Error("the slow path's word is not news once a step")
	}
	if last := start + slowStep; w.alone(last) || w.alone(last+aloneAfter) || !w.alone(last+aloneAfter+1) {
		t.Error("not alone exactly from aloneAfter on")
	}
	w.config.RuleState.Owners = 2
	if w.alone(start + 10*aloneAfter) {
		t.Error("alone beside another pinned worker")
	}
}

// TestAddedTagIsFound: a point that was said to lack a listener's tag no longer is.
func TestAddedTagIsFound(t *testing.T) {
	p := point.Point{PayloadBytes: []byte("site"), LacksTags: ^uint64(0)}
	name := point.MakeSpan(point.Payload, 0, 4)
	addTag(&p, point.Tag{Name: name, Value: name})
	if p.LacksTags != ^point.NameBit([]byte("site")) {
		t.Errorf("it lacks %x", p.LacksTags)
	}
}
