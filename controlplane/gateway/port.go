package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"culvert/bpf"
	"culvert/bpf/abi"
	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/xsk"
	"culvert/numa"
)

// served is one socket's place on a queue, the worker that serves it, and what earlier sockets in the same
// place had counted.
type served struct {
	queue  *dataplane.Queue // nil while there is no socket
	number int
	member int // 0: the first of the queue's sockets, which the others join
	worker int
	before tally
	// noRoom counts packets of the queue that were longer than the frames there were; in the first socket.
	noRoom uint64

	deferral deferral // of its interrupts, with busy polling
}

// tally is what is kept of a socket when it goes.
type tally struct {
	received uint64
	raw      xsk.Statistics
}

// port is one configured interface. Its fields are guarded by the gateway's mutex.
type port struct {
	config     *config.Interface
	log        *slog.Logger
	attachment *attach.Attachment // nil while the interface is gone, and in mode socket
	state      attach.State
	packetMax  int    // what a frame holds of a packet
	whole      bool   // zero-copy was to be had when the queues were opened, by the MTU
	mode       string // the effective one; empty while nothing is bound
	waiting    error  // why nothing is bound
	queues     []*served
	doors      []door // in mode socket
	cardTimes  cardTimes
	verdicts   [abi.Verdicts]uint64   // of programs that are gone by now
	limited    [bpf.TenantsMax]uint64 // packets of tenants, of the same programs
}

// frameHeadroom is what the kernel keeps of each frame for itself, metadata included: XDP_PACKET_HEADROOM
// (include/uapi/linux/bpf.h).
const frameHeadroom = 256

// The effective modes, from best to last.
const (
	modeZeroCopy = "zerocopy"
	modeNative   = "native"
	modeGeneric  = "generic"
	modeSocket   = "socket"
	modeAuto     = "auto"
)

// lookAround finds out how the interfaces are and publishes the listeners' addresses, before the kernel's
// sockets are open: what comes in by them from then on must find its listener.
func (g *Gateway) lookAround() error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for i := range g.options.Config.Interfaces {
		c := &g.options.Config.Interfaces[i]
		state, err := attach.Look(c.Name)
		if err != nil {
			return err
		}
		g.interfaces = append(g.interfaces, &port{
			config: c, log: g.log.With("interface", c.Name), state: state,
			packetMax: g.options.Config.Workers.FrameSize - frameHeadroom,
		})
	}
	g.publishAddresses()
	return nil
}

// attachAll brings every interface up. An interface that is there but down is waited for; everything else
// that is missing is an error.
func (g *Gateway) attachAll() error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for _, p := range g.interfaces {
		if err := g.raise(p); err != nil && !errors.Is(err, unix.ENETDOWN) {
			return err
		}
	}
	return nil
}

// raise attaches to the interface, opens its queues and switches the redirect on. On failure nothing stays
// attached and p.waiting says why, except for an interface that is down: there the program stays.
func (g *Gateway) raise(p *port) (err error) {
	defer func() { p.waiting = err }()
	if p.state, err = attach.Look(p.config.Name); err != nil {
		return err
	}
	g.probes.watchInterface(p)
	if p.config.Mode == modeSocket {
		return g.raiseSockets(p)
	}
	mode, err := attach.ParseMode(p.config.Mode)
	if err != nil {
		return err
	}
	if p.attachment == nil {
		if err := g.attach(p, mode); err != nil {
			return g.orSockets(p, err)
		}
	}
	p.state = p.attachment.State()
	if err := g.setListeners(p); err != nil {
		return errors.Join(err, g.lower(p))
	}
	err = g.openQueues(p)
	if errors.Is(err, unix.ENETDOWN) {
		p.log.Warn("interface is down: waiting for it")
		return err
	}
	if err != nil {
		return g.orSockets(p, errors.Join(err, g.lower(p)))
	}
	if err := p.redirect(true); err != nil {
		return errors.Join(err, g.lower(p))
	}
	p.log.Info("attached", "mode", p.mode, "driver", p.attachment.Driver(), "queues", len(p.queues),
		"adopted", p.attachment.Adopted(), "card_times", p.cardTimes.says)
	return nil
}

// attach puts the program on the interface. In generic mode several CPUs may run it for one queue at once,
// which older kernels do not survive when sockets share a queue (xsk_generic_rcv, net/xdp/xsk.c, locked the
// socket until 6.15, and not what it shares): there each queue has one.
func (g *Gateway) attach(p *port, mode attach.Mode) error {
	options := attach.Options{
		Interface: p.config.Name, Mode: mode, StallAfter: p.config.StallAfter,
		PacketMax: p.packetMax, Seen: g.options.Seen[p.config.Name],
		Fanout: g.plan.Fanout(p.config.Name), InTurn: p.config.QueuesFanout == fanoutPacket,
	}
	attachment, err := g.openAttachment(p, options)
	if err != nil {
		return err
	}
	if refused := attachment.NativeRefused(); refused != nil {
		p.log.Warn("no native XDP, using generic", "error", refused)
	}
	if attachment.Mode() == attach.Generic && options.Fanout > 1 {
		p.log.Warn("one socket a queue: several take native XDP", "queues_fanout", p.config.QueuesFanout)
		options.Mode, options.Fanout = attach.Generic, 1
		p.attachment = attachment
		if err := p.closeAttachment(); err != nil {
			return err
		}
		if attachment, err = g.openAttachment(p, options); err != nil {
			return err
		}
	}
	p.attachment = attachment
	return nil
}

// wantsPieces tells whether the MTU has come to ask for packets of several frames, which the program that is
// attached does not take.
func (p *port) wantsPieces() bool {
	return p.attachment != nil && p.attachment.Mode() == attach.Native && !p.attachment.Pieces() &&
		attach.Jumbo(p.state.MTU, p.packetMax) && attach.TakesPieces()
}

// orSockets falls back to mode socket where the configuration leaves the choice and the interface cannot do
// better; any other obstacle is returned. Want of privilege is one: nobody who forgot a capability wants a
// tenth of the speed for it.
func (g *Gateway) orSockets(p *port, cause error) error {
	var obstacle *attach.Error
	refused := errors.As(cause, &obstacle) && obstacle.Kind != attach.Unsupported
	if p.config.Mode != modeAuto || refused || wantsPrivilege(cause) {
		return cause
	}
	p.log.Warn("no AF_XDP on this interface, using kernel sockets", "error", cause)
	return g.raiseSockets(p)
}

// wantsPrivilege tells whether more privilege would mend it: a capability, or a higher RLIMIT_MEMLOCK, which
// the kernel answers by ENOBUFS.
func wantsPrivilege(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOBUFS)
}

// openQueues opens the sockets of every queue that is served and puts them into the XSKMAP. The effective
// mode is that of the least queue.
func (g *Gateway) openQueues(p *port) error {
	p.mode, p.whole = modeZeroCopy, p.fitsZeroCopy()
	if p.config.Mode == modeZeroCopy {
		err := attach.DemandWhole(p.config.Name, p.attachment.Driver(), p.state.MTU, p.packetMax)
		if err != nil {
			return err
		}
	}
	for _, number := range queuesOf(p.config, p.state.RXQueues) {
		if err := g.openQueue(p, number); err != nil {
			return err
		}
	}
	return nil
}

// openQueue opens the sockets of one queue: the first, and those that join it.
func (g *Gateway) openQueue(p *port, number int) error {
	steer := p.attachment.Steer()
	workers := append([]int{g.plan.For(p.config.Name, number)}, g.plan.members(p.config.Name, number)...)
	workers = workers[:min(len(workers), steer.Fanout())]
	var first *dataplane.Queue
	for member, worker := range workers {
		s, slot := p.served(number, member, worker), steer.Slot(number, member)
		queue, err := g.workers[worker].AddQueue(dataplane.QueueConfig{
			Interface: p.config.Name, Index: p.state.Index, Queue: number, Mode: p.bindMode(),
			Frames: g.options.Config.Workers.Frames, FrameSize: g.options.Config.Workers.FrameSize,
			HugePages: g.hugePages(), Checksum: checksumPolicy(p.config.Checksum, p.attachment.Driver()),
			CardClock: p.cardTimes.clock.known(),
			Heartbeat: steer.Heartbeats()[slot], StallAfter: p.config.StallAfter,
			Departures: len(g.departures) > 0, Segments: p.attachment.Pieces(), Members: len(workers) - 1,
			First: first, Member: member - 1, FirstWorker: workers[0],
			BusyPoll: p.busyPoll(member),
		})
		if err != nil {
			return err
		}
		s.queue = queue
		if member == 0 {
			first = queue
			if p.busyPoll(member).Budget > 0 {
				p.deferInterrupts(s)
			}
		}
		if err := steer.SetXSK(slot, queue.FD()); err != nil {
			return err
		}
		if !queue.ZeroCopy() {
			p.mode = p.attachment.Mode().String()
		}
	}
	return nil
}

// served finds the entry of a queue's socket, or makes one.
func (p *port) served(number, member, worker int) *served {
	for _, s := range p.queues {
		if s.number == number && s.member == member {
			s.worker = worker
			return s
		}
	}
	s := &served{number: number, member: member, worker: worker}
	p.queues = append(p.queues, s)
	return s
}

// closeQueues takes the sockets out of the XSKMAP and away from their workers, which eat what is left first.
// A queue's first socket goes last: the others give their frames back to it, and the entries stand in this
// order.
func (g *Gateway) closeQueues(p *port) error {
	var errs []error
	for _, s := range slices.Backward(p.queues) {
		if s.queue == nil {
			continue
		}
		if p.attachment != nil {
			errs = append(errs, p.attachment.Steer().ClearXSK(p.attachment.Steer().Slot(s.number, s.member)))
		}
		p.restoreInterrupts(s)
		s.keep()
		err := g.workers[s.worker].RemoveQueue(s.queue)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The worker still holds the socket and the program's cell: both stay until it lives again.
			return errors.Join(append(errs, err)...)
		}
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		s.before.received += s.queue.Received()
		s.queue = nil
	}
	p.mode = ""
	return errors.Join(errs...)
}

// keep adds the kernel's counters of the socket, which end with it, to what the queue had before.
func (s *served) keep() {
	now, err := s.queue.Statistics()
	if err != nil {
		return
	}
	s.before.raw = addStatistics(s.before.raw, s.own(now))
}

// own are the counters without the fill ring's, where that is another socket's.
func (s *served) own(raw xsk.Statistics) xsk.Statistics {
	if s.member > 0 {
		raw.FillRingEmpty = 0
	}
	return raw
}

// rebind opens all sockets of an interface anew, as a driver's reset and a link that went down and up ask
// for. Packets go to the kernel's sockets meanwhile.
func (g *Gateway) rebind(p *port) error {
	if p.attachment == nil {
		return errors.Join(g.lower(p), g.raise(p))
	}
	err := errors.Join(p.redirect(false), g.closeQueues(p))
	if err == nil {
		err = g.openQueues(p)
	}
	if err == nil {
		err = p.redirect(true)
	}
	p.waiting = err
	if err == nil {
		p.log.Info("bound anew", "mode", p.mode, "queues", len(p.queues))
	}
	return err
}

// lower takes everything off an interface: redirect off, sockets closed, program detached.
func (g *Gateway) lower(p *port) error {
	err := errors.Join(p.redirect(false), g.closeQueues(p), g.closeDoors(&p.doors))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if p.attachment != nil {
		p.verdicts, p.limited = p.counted(), p.countLimited(bpf.TenantsMax)
		err = errors.Join(err, p.closeAttachment())
	}
	return err
}

// counted is how many packets got each verdict on this interface, over all programs that were on it.
func (p *port) counted() [abi.Verdicts]uint64 {
	counts := p.verdicts
	if p.attachment == nil {
		return counts
	}
	now, err := p.attachment.Steer().Verdicts()
	if err != nil {
		return counts
	}
	for v, n := range now {
		counts[v] += n
	}
	return counts
}

// countLimited is how many packets of the first so many tenants were dropped for their limits on this
// interface, over all programs that were on it.
func (p *port) countLimited(tenants int) [bpf.TenantsMax]uint64 {
	counts := p.limited
	if p.attachment == nil {
		return counts
	}
	now, err := p.attachment.Steer().Limited(tenants)
	if err != nil {
		return counts
	}
	for tenant, n := range now {
		counts[tenant] += n
	}
	return counts
}

// redirect switches the steering on or off; off is no error where nothing is attached.
func (p *port) redirect(on bool) error {
	if p.attachment == nil {
		return nil
	}
	return p.attachment.Steer().SetRedirect(on)
}

// detach takes the program off, or leaves it with redirect off where the link is pinned.
func (p *port) detach() error {
	if p.attachment == nil {
		return nil
	}
	return errors.Join(p.attachment.RedirectOff(), p.attachment.Detach())
}

// queuesOf are the queues to serve: those asked for, or all.
func queuesOf(c *config.Interface, rxQueues int) []int {
	if len(c.Queues) > 0 {
		return slices.DeleteFunc(slices.Clone([]int(c.Queues)), func(q int) bool { return q >= rxQueues })
	}
	all := make([]int, rxQueues)
	for i := range all {
		all[i] = i
	}
	return all
}

// partialDrivers are those whose frames may come from a local sender before any card finished their sums.
var partialDrivers = [...]string{"veth", "virtio_net", "tun"}

func checksumPolicy(name, driver string) dataplane.ChecksumPolicy {
	switch {
	case name == "off":
		return dataplane.ChecksumOff
	case name == modeAuto && slices.Contains(partialDrivers[:], driver):
		return dataplane.ChecksumPartial
	}
	return dataplane.ChecksumVerify
}

func (g *Gateway) hugePages() numa.HugePages {
	// The configuration's check has let only known words through.
	huge, _ := numa.ParseHugePages(g.options.Config.Workers.HugePages)
	return huge
}

// batchPages are the pages of batches. Huge ones are set aside for frames, by `culvert tune` as by hand, and
// batches, which are made first, would take them away.
func (g *Gateway) batchPages() numa.HugePages {
	if huge := g.hugePages(); huge == numa.HugeOff {
		return huge
	}
	return numa.HugeImplicit
}

// errGone is why nothing is bound while the interface does not exist.
var errGone = errors.New("the interface is gone")

func (p *port) describe() string {
	if p.waiting == nil {
		return ""
	}
	return fmt.Sprintf("interface %s: %v", p.config.Name, p.waiting)
}
