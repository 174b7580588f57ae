package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/dataplane/udp"
	"culvert/dataplane/xsk"
	"culvert/numa"
)

// QueueConfig says which receive queue of which interface a worker shall take, and with what memory.
type QueueConfig struct {
	Interface string // for counters
	Index     int    // ifindex
	Queue     int
	Mode      xsk.Mode
	Frames    int
	FrameSize int
	HugePages numa.HugePages
	Checksum  ChecksumPolicy
	// CardClock (optional) is the clock of the card, by which it tells when it got a packet.
	CardClock *CardClock
	Heartbeat *atomic.Uint64 // the XDP program's cell for this queue
	// StallAfter is how old a heartbeat the XDP program believes; 0: any.
	StallAfter time.Duration
	// Departures asks for a TX ring and frames for alerts.
	Departures bool
	// Segments takes packets longer than a frame.
	Segments bool
	// BusyPoll (optional) has the worker poll the card.
	BusyPoll BusyPoll
	// Members is how many further sockets join this one on its queue (optional), each on its own worker.
	Members int
	// First is the socket that this one joins, as member number Member, instead of having memory of its own
	// (optional), and FirstWorker its worker. Frames, FrameSize, HugePages and Departures are then the first
	// one's.
	First               *Queue
	Member, FirstWorker int
}

// Queue is one AF_XDP socket and its memory, or one that joined another socket's queue and shares that one's
// memory. Its worker's thread owns it; Received, ZeroCopy, FD, Statistics and Polling may be called by the
// control plane until it takes the queue away.
type Queue struct {
	config    QueueConfig
	socket    *xsk.Socket
	memory    *numa.Memory // nil in a queue that joined another
	heartbeat *atomic.Uint64
	descs     []xsk.Desc
	assembly  assembly
	polling   polling
	// firstWaker wakes the worker of the socket that this one joined; nil otherwise.
	firstWaker *Waker
	broken     bool // the interface is gone: the socket will never be readable again
	received   atomic.Uint64
}

// returnsShare is the part of the frames, one of so many, that may be on their way back to a worker that
// sleeps. So many packets fit into the rest that the waking has time, and so few that it is seldom.
const returnsShare = 8

// openQueue takes the queue's memory on this worker's node and binds the socket, on the worker's thread.
func (w *Worker) openQueue(config QueueConfig) (*Queue, error) {
	if config.First != nil {
		return w.joinQueue(config)
	}
	memory, err := numa.Alloc(config.Frames*config.FrameSize, w.config.Node, config.HugePages)
	if err != nil {
		return nil, fmt.Errorf("allocate UMEM: %w", err)
	}
	// Every frame is in the fill ring, in the RX ring or in the turn's batch, so rings of all frames never
	// refuse one, and a burst finds every frame there is.
	ring := config.Frames
	settings := xsk.Config{
		Interface: config.Index, Queue: config.Queue, Mode: config.Mode, UMEM: memory.Bytes(),
		FrameSize: config.FrameSize, FillSize: ring, CompletionSize: xskUnusedRing, RXSize: ring,
		Members: config.Members, Segments: config.Segments,
	}
	if config.Departures {
		settings.TXSize, settings.CompletionSize = departureFrames, departureFrames
		settings.TXFrames = departureFrames
	}
	socket, err := xsk.Open(settings)
	if err != nil {
		memory.Close()
		return nil, err
	}
	q := &Queue{
		config: config, socket: socket, memory: memory, heartbeat: config.Heartbeat,
		descs: make([]xsk.Desc, w.config.Batch), assembly: config.assembly(),
	}
	if err := q.openPolling(); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// assembly is where packets longer than a frame are put together, where there can be any.
func (c *QueueConfig) assembly() assembly {
	if !c.Segments {
		return assembly{}
	}
	return newAssembly()
}

// joinQueue opens a further socket on the queue of another worker.
func (w *Worker) joinQueue(config QueueConfig) (*Queue, error) {
	first := config.First
	config.Frames, config.FrameSize, config.Departures = first.config.Frames, first.config.FrameSize, false
	socket, err := xsk.Join(first.socket, config.Member, config.Frames)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		config: config, socket: socket, heartbeat: config.Heartbeat,
		descs: make([]xsk.Desc, w.config.Batch), assembly: config.assembly(),
		firstWaker: w.links.wakers[config.FirstWorker],
	}
	if err := q.openPolling(); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// takeReturns takes back what the workers of joined sockets have freed.
func (q *Queue) takeReturns() {
	if q.config.Members > 0 {
		q.socket.TakeReturns()
	}
}

// returnsDue tells whether so many frames are on their way back that this worker must not sleep.
func (q *Queue) returnsDue() bool {
	return q.config.Members > 0 && q.socket.Returned() >= q.config.Frames/returnsShare
}

// remind wakes the worker that this queue's frames go back to, if it may have too few left for the kernel.
// It pairs with returnsDue, which that worker asks after it has said that it sleeps.
func (q *Queue) remind() {
	if q.firstWaker != nil && q.socket.Owed() >= q.config.Frames/returnsShare {
		q.firstWaker.Wake()
	}
}

// xskUnusedRing is the size of a ring that the kernel demands but that nothing goes through.
const xskUnusedRing = 64

// Received is the number of packets taken so far.
func (q *Queue) Received() uint64 { return q.received.Load() }

// ZeroCopy tells how the kernel bound the socket.
func (q *Queue) ZeroCopy() bool { return q.socket.ZeroCopy() }

// FD is the socket's descriptor, for the XSKMAP.
func (q *Queue) FD() int { return q.socket.FD() }

// Statistics are the kernel's counters of the socket.
func (q *Queue) Statistics() (xsk.Statistics, error) { return q.socket.Statistics() }

// beatsPerStall is how often a sleeping worker wakes up within StallAfter: often enough that a late wake-up
// is not taken for a stall.
const beatsPerStall = 4

// sleepMax is how long the worker may sleep at most, in nanoseconds: short enough for every queue's beat.
func (w *Worker) sleepMax() int64 {
	longest := waitMax
	for _, q := range w.queues {
		if after := int64(q.config.StallAfter); after > 0 {
			longest = min(longest, after/beatsPerStall)
		}
	}
	return longest
}

// HugePages says which pages the queue's frames lie on.
func (q *Queue) HugePages() string {
	if q.config.First != nil {
		return q.config.First.HugePages()
	}
	return q.memory.Huge()
}

func (q *Queue) pollFD() int32 {
	if q.broken {
		return -1
	}
	return int32(q.socket.FD())
}

// noteEvents keeps a socket whose interface is gone from being polled: its error would end every wait at
// once.
func (q *Queue) noteEvents(events int16) {
	if events&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
		q.broken = true
	}
}

func (q *Queue) close() {
	q.socket.Close()
	if q.memory != nil {
		q.memory.Close()
	}
}

// takeFrames eats one batch of a queue's frames in place and gives them back to the kernel.
func (w *Worker) takeFrames(q *Queue, now int64) int {
	q.poll(w.clock)
	n := q.socket.Receive(q.descs)
	q.polling.trial.left -= n
	q.takeReturns()
	if n == 0 {
		// The kernel may have asked for a wake-up only after the last batch was given back; without it a
		// driver whose fill ring ran dry would never look again.
		_ = q.socket.Wakeup()
		return 0
	}
	if w.rules != nil {
		w.rules.SetAlone(w.alone(now))
	}
	packets := n
	if q.config.Segments {
		packets = w.eatPieces(q, q.socket.UMEM(), q.descs[:n], now)
	} else {
		w.eatFrames(q.socket.UMEM(), q.descs[:n], &q.config, now)
	}
	q.socket.Free(q.descs[:n])
	q.remind()
	// A failed wake-up is tried again with the next batch: the kernel keeps the flag set.
	_ = q.socket.Wakeup()
	w.counters.FramesReceived += uint64(packets)
	q.received.Store(q.received.Load() + uint64(packets))
	return n
}

// eatFrames eats frames of a UMEM that the worker holds, as a queue of this configuration does.
func (w *Worker) eatFrames(umem []byte, descs []xsk.Desc, queue *QueueConfig, now int64) {
	var payload Payload
	timed := w.timingDue(now)
	for i := range descs {
		d := &descs[i]
		packet, metadata := umem[d.Addr:d.Addr+uint64(d.Len)], umem[d.Addr-abi.MetaSize:d.Addr]
		reject := openFrame(&payload, packet, metadata, queue.Checksum, &w.counters)
		if reject != FrameRejects {
			w.rejectFrame(reject, &payload)
			continue
		}
		if payload.CardTold && queue.CardClock != nil {
			if wait, ok := queue.CardClock.Wait(payload.CardTime, payload.Arrival); ok {
				w.stages.NICToSteer.Record(wait)
			}
		}
		w.stages.SteerToWorker.Record(now - payload.Arrival)
		w.eat(&payload, timed && i == 0 || w.traces.watch)
	}
}

// timingInterval is how often a payload's stages are measured, in nanoseconds: a clock reading takes as long
// as a rule, and a turn may have one payload.
const timingInterval = int64(time.Millisecond)

// timingDue tells whether the turn's first payload is to be measured.
func (w *Worker) timingDue(now int64) bool {
	if now-w.timedAt < timingInterval {
		return false
	}
	w.timedAt = now
	return true
}

// Door is one of the kernel's own sockets on a port: the slow path, or `mode: socket`.
type Door struct {
	port   uint16
	socket *udp.Socket
	kept   bool
}

// Keep is for a socket that the next process takes over: a drain reads what waits in it, and leaves it to
// that one then. It is called before the door goes to its worker.
func (d *Door) Keep() { d.kept = true }

// NewDoor hands an open socket to a worker, which closes it.
func NewDoor(port uint16, socket *udp.Socket) *Door { return &Door{port: port, socket: socket} }

// Join makes the socket a member of a multicast group on an interface. The control plane may call it.
func (d *Door) Join(group netip.Addr, index int) error { return d.socket.Join(group, index, "") }

// KernelDrops is how many datagrams the kernel dropped because the socket was full.
func (d *Door) KernelDrops() uint64 { return d.socket.KernelDrops() }

// deafen ends the intake: the kernel drops, and counts, what comes from now on, and what it holds already
// can be read to its end however fast senders send.
func (d *Door) deafen() error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	program := unix.SockFprog{Len: 1, Filter: &nothing}
	err := unix.SetsockoptSockFprog(d.socket.FD(), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	if err != nil {
		return fmt.Errorf("end the intake of UDP port %d: %w", d.port, err)
	}
	return nil
}

// datagramBatch is what one turn takes from a kernel socket.
type datagramBatch []udp.Datagram

// takeDatagrams eats one batch of a kernel socket's datagrams. The kernel has checked their sums.
func (w *Worker) takeDatagrams(d *Door, now int64) int {
	n, err := d.socket.Receive(w.datagrams)
	if err != nil || n == 0 {
		return 0
	}
	if w.rules != nil && w.config.Index >= w.config.RuleState.Owners && w.links.slowWorks(now) {
		now = w.clock.Now()
	}
	addresses := *w.config.Addresses.Load()
	var payload Payload
	timed := w.timingDue(now)
	for i := range n {
		datagram := &w.datagrams[i]
		payload.Source, payload.SourcePort = datagram.Source, datagram.SourcePort
		listener, tenant, reject := admit(w.config.Listeners, addresses, d.port,
			netip.AddrFrom16(datagram.Source).Unmap(), netip.AddrFrom16(datagram.Destination).Unmap())
		if reject == FrameRejects && datagram.Truncated {
			reject = FrameTruncated
		}
		if reject == FrameRejects && w.gates != nil {
			if reject = w.gates.admitDatagram(tenant, &datagram.Source, now); reject != FrameRejects {
				w.enterLimited(tenant)
			}
		}
		if reject != FrameRejects {
			w.rejectFrame(reject, &payload)
			continue
		}
		payload.Bytes, payload.Arrival = datagram.Payload, now
		payload.Listener, payload.Tenant = uint16(listener), tenant
		w.eat(&payload, timed && i == 0 || w.traces.watch)
	}
	w.counters.FramesReceived += uint64(n)
	w.counters.DatagramsReceived += uint64(n)
	return n
}

func (w *Worker) rejectFrame(reject FrameReject, payload *Payload) {
	w.counters.FramesRejected[reject]++
	w.sampleFrame(reject, payload)
}
