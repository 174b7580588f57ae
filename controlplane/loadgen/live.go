package loadgen

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// liveSlots is how many packets may wait between the sender and the kernel program: a millisecond's
	// worth.
	liveSlots = 2048
	// liveWait is how long a sender that is ahead of the program sleeps, to let it run on the same CPU.
	liveWait = 100 * time.Microsecond
	// liveWaitMax bounds that wait, so that the sender can be stopped.
	liveWaitMax = 100 * time.Millisecond
	// liveStartTime bounds the wait for the kernel to begin a run.
	liveStartTime = 10 * time.Second
	// liveCountTime is how long an interface may take to count what it has sent; some cards do so once a
	// second.
	liveCountTime = 3 * time.Second
	// liveFrameMax is the longest frame that the kernel runs live: a page less the headroom, the tailroom and
	// its own head (bpf_prog_test_run_xdp, net/bpf/test_run.c), rounded down.
	liveFrameMax = 3072
)

// live is the way of live frames: a kernel program that the kernel runs again and again over frames of its
// own (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18), and that redirects each to the
// interface. The program takes what to send from a ring in memory that it shares with us.
//
//	sender ─ writes whole frames ─▶ ring (a BPF array) ─▶ program ─ copies, redirects ─▶ interface
//
// The kernel takes tens of milliseconds to begin such a run and cannot wait in it, so that one run lasts as
// long as we send, on a thread of its own. That one has the policy SCHED_IDLE: it may share the sender's CPU,
// which it gets whenever the sender sleeps, and takes nothing from anybody.
type live struct {
	flows   []*headers
	link    netlink.Link
	packets *ebpf.Map
	control *ebpf.Map
	program *ebpf.Program
	ring    liveRing
	before  uint64 // what the interface had sent at the start

	thread  atomic.Int64 // of the run; 0 before it has begun
	leaving atomic.Bool
	done    chan error
}

func openLive(r *resolved) (opened way, err error) {
	link, ends, err := route(r)
	if err != nil {
		return nil, err
	}
	longest, err := checkFrames(r, ends, link.Attrs().MTU, link.Attrs().Name)
	if err != nil {
		return nil, err
	}
	if longest > liveFrameMax {
		return nil, fmt.Errorf("send frames of %d bytes: live ones have %d at most; use --via socket",
			longest, liveFrameMax)
	}
	l := &live{link: link, done: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for _, e := range ends {
		l.flows = append(l.flows, newHeaders(e, !r.NoChecksum))
	}
	// Room for the length in front; slots are aligned to cache lines.
	stride := (liveHead + longest + 63) &^ 63
	if err := l.load(stride, longest); err != nil {
		return nil, err
	}
	if l.ring, err = mapLiveRing(l.packets, l.control, stride); err != nil {
		return nil, err
	}
	l.before = link.Attrs().Statistics.TxPackets
	// A program redirects within the network namespace of the thread that runs it.
	space, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	started := make(chan struct{})
	go l.run(r, space, longest, started)
	<-started
	return l, l.await()
}

// load makes the maps and the program.
func (l *live) load(stride, longest int) (err error) {
	if l.packets, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "load_packets", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(stride), MaxEntries: liveSlots,
		Flags: unix.BPF_F_MMAPABLE,
	}); err != nil {
		return fmt.Errorf("make the ring of packets: %w", err)
	}
	if l.control, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "load_control", Type: ebpf.Array, KeySize: 4, ValueSize: liveControlSize, MaxEntries: 1,
		Flags: unix.BPF_F_MMAPABLE,
	}); err != nil {
		return fmt.Errorf("make the ring's indices: %w", err)
	}
	l.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "load_live", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: liveProgram(l.packets, l.control, l.link.Attrs().Index, longest),
	})
	if err != nil {
		return fmt.Errorf("load the program that sends: %w", err)
	}
	return nil
}

// await waits until the kernel runs the program.
func (l *live) await() error {
	for deadline := time.Now().Add(liveStartTime); l.ring.idle.Load() == 0; pause() {
		if err := l.failed(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("run live frames on %q: the kernel has not begun after %v: is the CPU busy?",
				l.link.Attrs().Name, liveStartTime)
		}
	}
	return nil
}

// run lets the kernel run the program until the way is closed.
func (l *live) run(r *resolved, space, longest int, started chan<- struct{}) {
	// Never unlocked: the thread keeps its policy, and ends with this goroutine.
	runtime.LockOSThread()
	// A thread that could not be made this modest only takes more of a shared CPU.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0)
	l.thread.Store(int64(unix.Gettid()))
	close(started)
	err := enter(space)
	if err == nil && r.Pin {
		var wanted unix.CPUSet
		wanted.Set(r.CPU)
		err = unix.SchedSetaffinity(0, &wanted)
	}
	if err != nil {
		l.done <- fmt.Errorf("prepare the thread of live frames: %w", err)
		return
	}
	frame := make([]byte, longest)
	for !l.leaving.Load() {
		if errno := runLive(l.program.FD(), frame); errno != 0 && errno != unix.EINTR {
			l.done <- fmt.Errorf("run live frames on %q: %w", l.link.Attrs().Name, errno)
			return
		}
	}
	l.done <- nil
}

// failed is why the run has ended, if it has.
func (l *live) failed() error {
	select {
	case err := <-l.done:
		l.done <- err
		return err
	default:
		return nil
	}
}

// enter takes the thread into a network namespace, unless it is there, and closes the descriptor.
func enter(space int) error {
	defer unix.Close(space)
	var wanted, here unix.Stat_t
	err := errors.Join(unix.Fstat(space, &wanted), unix.Stat("/proc/thread-self/ns/net", &here))
	if err != nil {
		return fmt.Errorf("look at the network namespace: %w", err)
	}
	if wanted.Ino == here.Ino && wanted.Dev == here.Dev {
		return nil
	}
	if err := unix.Setns(space, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

// send writes packets into the ring, and waits while it is full.
func (l *live) send(flow int, packets [][]byte) (int, unix.Errno) {
	headers := l.flows[flow]
	for waited := time.Duration(0); l.ring.room() < len(packets); waited += liveWait {
		if waited >= liveWaitMax {
			if err := l.failed(); err != nil {
				return 0, errnoOf(err)
			}
			return 0, unix.EAGAIN
		}
		nap := unix.NsecToTimespec(int64(liveWait))
		_ = unix.Nanosleep(&nap, nil)
	}
	for _, packet := range packets {
		slot := l.ring.slot()
		l.ring.put(slot, headers.put(slot[liveHead:], packet))
	}
	l.ring.submit()
	return len(packets), 0
}

// flush waits until the program has taken everything, and looks whether the interface has, by and large: a
// veth end takes live frames only if its peer has an XDP program or GRO on, and drops them without a word
// otherwise.
func (l *live) flush() error {
	for deadline := time.Now().Add(flushTime); l.ring.held() > 0; pause() {
		if err := l.failed(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("send live frames: %d of them wait for a CPU", l.ring.held())
		}
	}
	for deadline := time.Now().Add(liveCountTime); l.ring.produced > 0; pause() {
		link, err := netlink.LinkByIndex(l.link.Attrs().Index)
		if err != nil {
			return fmt.Errorf("read the interface's counters: %w", err)
		}
		taken := link.Attrs().Statistics.TxPackets - l.before
		if taken > l.ring.produced/2 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("send live frames on %q: it took %d of %d; the other end of a veth needs an "+
				"XDP program or GRO, and a card an XDP program of its own", link.Attrs().Name, taken,
				l.ring.produced)
		}
	}
	return nil
}

func (l *live) mode() mode { return mode{ViaLive, "live frames, copied by a kernel program", false} }

// close ends the run. The kernel looks for signals between batches; SIGURG is the one that Go's runtime sends
// itself and takes from anybody.
func (l *live) close() error {
	var err error
	if l.thread.Load() != 0 {
		l.leaving.Store(true)
		for ended := false; !ended; {
			_ = unix.Tgkill(os.Getpid(), int(l.thread.Load()), unix.SIGURG)
			select {
			case err = <-l.done:
				ended = true
			case <-time.After(time.Millisecond):
			}
		}
		l.thread.Store(0)
	}
	err = errors.Join(err, l.ring.unmap())
	for _, m := range []*ebpf.Map{l.packets, l.control} {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	if l.program != nil {
		err = errors.Join(err, l.program.Close())
	}
	l.packets, l.control, l.program = nil, nil, nil
	return err
}
