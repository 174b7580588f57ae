package loadgen

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/xsk"
)

const (
	// xdpFrames is how many packets may be under way on one queue: 2 or 4 MiB of memory.
	xdpFrames = 1024
	// xdpQueuesMax bounds how many queues are used: beyond, one thread gains nothing.
	xdpQueuesMax = 64
	// wakeupPackets is how many packets one wake-up sends in copy mode: TX_BATCH_SIZE, net/xdp/xsk.c.
	wakeupPackets = 32
	// flushTime bounds the wait for packets that were given to the kernel.
	flushTime = time.Second
)

// xdp is the way through AF_XDP sockets: whole frames go to the driver past the stack. Each queue has a
// socket, and flow i leaves by queue i modulo their number, as it would from a sender with as many threads.
type xdp struct {
	queues   []*xdpQueue
	flows    []*headers
	zeroCopy bool
}

// xdpQueue is one socket and its memory.
type xdpQueue struct {
	socket *xsk.Socket
	umem   []byte
	descs  [burstMax]xsk.Desc
	flying int // given to the kernel, and not completed
}

func openXDP(r *resolved, onlyZeroCopy bool) (opened way, err error) {
	link, ends, err := route(r)
	if err != nil {
		return nil, err
	}
	name, index := link.Attrs().Name, link.Attrs().Index
	longest, err := checkFrames(r, ends, link.Attrs().MTU, name)
	if err != nil {
		return nil, err
	}
	frameSize := 2048
	for frameSize < longest && frameSize < os.Getpagesize() {
		frameSize *= 2
	}
	if longest > frameSize {
		return nil, fmt.Errorf("send frames of %d bytes: AF_XDP takes %d; use --via socket", longest,
			frameSize)
	}
	x := &xdp{}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	for _, e := range ends {
		x.flows = append(x.flows, newHeaders(e, !r.NoChecksum))
	}
	mode := xsk.Auto
	if onlyZeroCopy {
		mode = xsk.ZeroCopy
	}
	for queue := range min(len(ends), xdpQueuesMax) {
		q, err := openXDPQueue(index, queue, mode, frameSize)
		if queue > 0 && errors.Is(err, unix.EINVAL) {
			// The queue before was the last.
			break
		}
		if err != nil {
			return nil, fmt.Errorf("send on %q: %w", name, err)
		}
		x.queues = append(x.queues, q)
		x.zeroCopy = q.socket.ZeroCopy()
	}
	return x, nil
}

// openXDPQueue opens a queue's socket: without zero copy where the driver has it, and does not send by it.
func openXDPQueue(index, queue int, mode xsk.Mode, frameSize int) (*xdpQueue, error) {
	q, err := openXDPSocket(index, queue, mode, frameSize)
	if err != nil || !q.socket.ZeroCopy() {
		return q, err
	}
	refused := q.socket.CheckSend()
	if refused == nil {
		return q, nil
	}
	if err := q.close(); err != nil {
		return nil, err
	}
	if mode == xsk.ZeroCopy {
		return nil, fmt.Errorf("send without a copy: %w: the driver takes an XDP program on the interface "+
			"for that", refused)
	}
	return openXDPSocket(index, queue, xsk.Copy, frameSize)
}

func openXDPSocket(index, queue int, mode xsk.Mode, frameSize int) (*xdpQueue, error) {
	umem, err := unix.Mmap(-1, 0, xdpFrames*frameSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map memory for frames: %w", err)
	}
	socket, err := xsk.Open(xsk.Config{
		Interface: index, Queue: queue, Mode: mode, UMEM: umem, FrameSize: frameSize,
		TXSize: xdpFrames, CompletionSize: xdpFrames,
	})
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(umem))
	}
	return &xdpQueue{socket: socket, umem: umem}, nil
}

// checkFrames finds the longest frame and compares it with what the interface sends.
func checkFrames(r *resolved, ends []endpoints, mtu int, name string) (int, error) {
	longest := ethernetHeader + ipv4Header + udpHeader + r.source.sizeMax()
	for _, e := range ends {
		if e.to.Addr().Is6() {
			longest = ethernetHeader + ipv6Header + udpHeader + r.source.sizeMax()
		}
	}
	if longest > mtu+ethernetHeader {
		return 0, fmt.Errorf("send packets of %d bytes on %q, whose MTU is %d: only sockets make fragments",
			longest-ethernetHeader, name, mtu)
	}
	return longest, nil
}

// send writes packets into frames and gives them to the kernel. In copy mode each has left, or was dropped by
// the device, when the kernel is done with the wake-ups.
func (x *xdp) send(flow int, packets [][]byte) (int, unix.Errno) {
	q := x.queues[flow%len(x.queues)]
	headers := x.flows[flow]
	q.flying -= q.socket.ReapCompletions()
	n := q.socket.Allocate(q.descs[:len(packets)])
	for i := range n {
		d := &q.descs[i]
		d.Len = uint32(headers.put(q.socket.Packet(*d), packets[i]))
	}
	// The TX ring has as many slots as there are frames, so that it takes all of them.
	q.socket.Transmit(q.descs[:n])
	q.flying += n
	for range n/wakeupPackets + 1 {
		if err := q.socket.Wakeup(); err != nil {
			return n, errnoOf(err)
		}
	}
	if n < len(packets) {
		return n, unix.EAGAIN
	}
	return n, 0
}

// errnoOf is the kernel's part of an error.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return unix.EIO
	}
	return errno
}

func (x *xdp) flush() error {
	for deadline := time.Now().Add(flushTime); ; {
		left := 0
		for _, q := range x.queues {
			if err := q.socket.Wakeup(); err != nil {
				return err
			}
			q.flying -= q.socket.ReapCompletions()
			left += q.flying
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("send by AF_XDP: the driver still holds %d packets", left)
		}
		pause()
	}
}

func (x *xdp) mode() mode {
	if x.zeroCopy {
		return mode{ViaXDP, "AF_XDP, zero copy", true}
	}
	return mode{ViaXDP, "AF_XDP, copied by the kernel", false}
}

func (x *xdp) close() error {
	var errs []error
	for _, q := range x.queues {
		errs = append(errs, q.close())
	}
	x.queues = nil
	return errors.Join(errs...)
}

func (q *xdpQueue) close() error { return errors.Join(q.socket.Close(), unix.Munmap(q.umem)) }
