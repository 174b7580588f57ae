package xsk

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bindAttempts and bindPause bound the wait for a queue whose last socket was closed a moment ago: the
	// kernel frees it from a work queue (xp_put_pool, net/xdp/xsk_buff_pool.c), and some drivers stop the
	// queue's hardware first. 2 s in all.
	bindAttempts = 80
	bindPause    = 25 * time.Millisecond
)

// Socket is an AF_XDP socket bound to one queue, with its UMEM. It belongs to the thread that opened it,
// except for FD, ZeroCopy and Statistics, which any thread may call until Close.
type Socket struct {
	fd         int
	zeroCopy   bool
	receives   bool // and has the fill ring
	fill       fillRing
	rx         rxRing
	tx         txRing
	completion completionRing
	frames     frames
	mappings   [][]byte // of the rings
	config     Config
	returns    []*returnRing // of those that may join this socket, by member
	back       *returnRing   // of a socket that joined
}

// Open makes a socket over the UMEM, hands the frames to the kernel and binds it to the queue. It is called
// on the thread that will use it, pinned already: the kernel puts the rings on that thread's node. No packet
// arrives before the socket is in the XSKMAP. A queue that is still being released is waited for.
func Open(config Config) (*Socket, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", err)
	}
	reserve := config.TXFrames
	if config.RXSize == 0 {
		reserve = config.frameCount()
	}
	s := &Socket{
		fd: -1, receives: config.RXSize > 0, frames: newFrames(config.UMEM, config.FrameSize, reserve),
		config: config,
	}
	for range config.Members {
		s.returns = append(s.returns, newReturnRing(config.frameCount()))
	}
	if err := s.open(func(s *Socket) error { return s.bind(s.flags()) }); err != nil {
		return nil, fmt.Errorf("open AF_XDP socket on queue %d of interface %d: %w",
			config.Queue, config.Interface, err)
	}
	return s, nil
}

// open makes the socket as it is configured and binds it. On failure nothing is left of it.
func (s *Socket) open(bind func(*Socket) error) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if s.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("make socket: %w%s", err, socketRemedy(err))
	}
	if umem := s.config.UMEM; umem != nil {
		if err := registerUMEM(s.fd, umem, s.config.FrameSize); err != nil {
			return fmt.Errorf("register UMEM of %d bytes: %w%s", len(umem), err, umemRemedy(err))
		}
	}
	if err := s.mapRings(&s.config); err != nil {
		return err
	}
	if s.receives {
		s.refill()
		s.fill.Submit()
	}
	if err := bind(s); err != nil {
		return err
	}
	options, err := unix.GetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return fmt.Errorf("read the effective mode: %w", err)
	}
	s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return nil
}

// mapRings sizes the rings, maps them and views them. The kernel demands a fill and a completion ring of
// every UMEM, of its first socket on a queue, and takes an RX or a TX ring only if it is wanted.
func (s *Socket) mapRings(config *Config) error {
	for _, ring := range []struct {
		name         string
		option, size int
	}{
		{"fill", unix.XDP_UMEM_FILL_RING, config.FillSize},
		{"completion", unix.XDP_UMEM_COMPLETION_RING, config.CompletionSize},
		{"RX", unix.XDP_RX_RING, config.RXSize},
		{"TX", unix.XDP_TX_RING, config.TXSize},
	} {
		if ring.size == 0 {
			continue
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, ring.option, ring.size); err != nil {
			return fmt.Errorf("make %s ring of %d slots: %w", ring.name, ring.size, err)
		}
	}
	offsets, err := mmapOffsets(s.fd)
	if err != nil {
		return fmt.Errorf("read the rings' layout: %w", err)
	}
	if config.UMEM != nil {
		if err := s.mapFrameRings(config, offsets); err != nil {
			return err
		}
	}
	if config.RXSize > 0 {
		memory, err := s.mapRing("RX", unix.XDP_PGOFF_RX_RING, offsets.Rx, config.RXSize*descSize)
		if err != nil {
			return err
		}
		if s.rx, err = newRXRing(memory, offsets.Rx, config.RXSize); err != nil {
			return err
		}
	}
	if config.TXSize > 0 {
		memory, err := s.mapRing("TX", unix.XDP_PGOFF_TX_RING, offsets.Tx, config.TXSize*descSize)
		if err != nil {
			return err
		}
		if s.tx, err = newTXRing(memory, offsets.Tx, config.TXSize); err != nil {
			return err
		}
	}
	return nil
}

// mapFrameRings maps the rings of frames, which a socket that joins has not.
func (s *Socket) mapFrameRings(config *Config, offsets unix.XDPMmapOffsets) error {
	memory, err := s.mapRing("fill", unix.XDP_UMEM_PGOFF_FILL_RING, offsets.Fr, config.FillSize*addrSize)
	if err != nil {
		return err
	}
	if s.fill, err = newFillRing(memory, offsets.Fr, config.FillSize); err != nil {
		return err
	}
	memory, err = s.mapRing("completion", unix.XDP_UMEM_PGOFF_COMPLETION_RING, offsets.Cr,
		config.CompletionSize*addrSize)
	if err != nil {
		return err
	}
	s.completion, err = newCompletionRing(memory, offsets.Cr, config.CompletionSize)
	return err
}

func (s *Socket) mapRing(name string, place int64, offset unix.XDPRingOffset, slots int) ([]byte, error) {
	memory, err := unix.Mmap(s.fd, place, int(offset.Desc)+slots, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap %s ring: %w", name, err)
	}
	s.mappings = append(s.mappings, memory)
	return memory, nil
}

// flags are those that the first socket of a queue is bound with. The others have the same by sharing.
func (s *Socket) flags() *unix.SockaddrXDP {
	flags := uint16(unix.XDP_USE_NEED_WAKEUP)
	switch s.config.Mode {
	case ZeroCopy:
		flags |= unix.XDP_ZEROCOPY
	case Copy:
		flags |= unix.XDP_COPY
	}
	if s.config.Segments {
		flags |= unix.XDP_USE_SG
	}
	return &unix.SockaddrXDP{
		Flags: flags, Ifindex: uint32(s.config.Interface), QueueID: uint32(s.config.Queue),
	}
}

// bindShared takes a share of the queue of another socket.
func (s *Socket) bindShared(first int) error {
	return s.bind(&unix.SockaddrXDP{
		Flags: unix.XDP_SHARED_UMEM, SharedUmemFD: uint32(first),
		Ifindex: uint32(s.config.Interface), QueueID: uint32(s.config.Queue),
	})
}

// bind takes the queue. The same socket may try again: a bind that fails leaves its rings as they were
// (xsk_bind, net/xdp/xsk.c).
func (s *Socket) bind(address *unix.SockaddrXDP) error {
	var err error
	for attempt := range bindAttempts {
		if attempt > 0 {
			time.Sleep(bindPause)
		}
		if err = unix.Bind(s.fd, address); err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return fmt.Errorf("bind in %v mode: %w%s", s.config.Mode, err, bindRemedy(err, &s.config))
}

// release gives back what Open took. The UMEM's pages are pinned until the kernel is done with them, which
// may be later; unmapping them is safe.
func (s *Socket) release() error {
	var errs []error
	for _, memory := range s.mappings {
		if err := unix.Munmap(memory); err != nil {
			errs = append(errs, fmt.Errorf("unmap ring: %w", err))
		}
	}
	s.mappings = nil
	if s.fd >= 0 {
		if err := unix.Close(s.fd); err != nil {
			errs = append(errs, fmt.Errorf("close socket: %w", err))
		}
		s.fd = -1
	}
	return errors.Join(errs...)
}

// Close closes the socket; the kernel takes it out of every XSKMAP. The worker holds no frame any more;
// frames in the kernel's hands are its own until the queue is released. Later calls do nothing.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	// What joined sockets gave back last.
	s.TakeReturns()
	if verify {
		if s.back == nil {
			s.frames.check()
		}
		if s.frames.working != 0 {
			panic(fmt.Sprintf("BUG: the worker holds %d frames of a socket that is closed", s.frames.working))
		}
	}
	// Nothing may touch the rings' memory after it is unmapped.
	s.fill, s.rx, s.tx, s.completion = fillRing{}, rxRing{}, txRing{}, completionRing{}
	if err := s.release(); err != nil {
		return fmt.Errorf("close AF_XDP socket: %w", err)
	}
	return nil
}

// FD is the descriptor, for the XSKMAP and for poll; -1 after Close.
func (s *Socket) FD() int { return s.fd }

// Mappings are the rings' memory, to look where it lies; valid until Close.
func (s *Socket) Mappings() [][]byte { return s.mappings }

// ZeroCopy tells the effective mode: whether the NIC writes into the UMEM itself.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// Statistics are the kernel's counters of the socket since Open.
func (s *Socket) Statistics() (Statistics, error) {
	if s.fd < 0 {
		return Statistics{}, fmt.Errorf("read AF_XDP statistics: %w", os.ErrClosed)
	}
	raw, err := readStatistics(s.fd)
	if err != nil {
		return Statistics{}, fmt.Errorf("read AF_XDP statistics: %w", err)
	}
	return Statistics{
		RXDropped: raw.Rx_dropped, RXInvalidDescs: raw.Rx_invalid_descs, TXInvalidDescs: raw.Tx_invalid_descs,
		RXRingFull: raw.Rx_ring_full, FillRingEmpty: raw.Rx_fill_ring_empty_descs,
		TXRingEmpty: raw.Tx_ring_empty_descs,
	}, nil
}
