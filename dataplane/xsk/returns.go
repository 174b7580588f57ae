package xsk

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// cacheLine keeps two writers' words apart, in bytes.
const cacheLine = 64

// returnRing brings frames from a socket that joined back to the one whose fill ring they go into. The
// worker of the one produces, that of the other consumes. It has room for every frame there is, so that it is
// never full.
type returnRing struct {
	slots []uint64 // offsets of frames
	mask  uint32

	_        [cacheLine]byte
	produced atomic.Uint32 // only the worker of the joined socket writes it
	_        [cacheLine]byte
	consumed atomic.Uint32 // only the worker that owns the fill ring writes it
	_        [cacheLine]byte
}

func newReturnRing(frames int) *returnRing {
	size := 1 << bits.Len(uint(frames-1))
	return &returnRing{slots: make([]uint64, size), mask: uint32(size) - 1}
}

// held is how many frames are on their way.
func (r *returnRing) held() int { return int(r.produced.Load() - r.consumed.Load()) }

// Join opens a socket on the queue of another one, which was opened with Members and stays open longer. Both
// share the memory, and the kernel takes frames for both out of the first one's fill ring: what this socket
// frees goes back to the first, whose worker calls TakeReturns. It is called on the thread that will use the
// socket, which only receives. Each number below Members joins once.
func Join(first *Socket, member, rxSize int) (_ *Socket, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("join AF_XDP socket on queue %d of interface %d: %w",
				first.config.Queue, first.config.Interface, err)
		}
	}()
	if member < 0 || member >= len(first.returns) {
		return nil, fmt.Errorf("member %d of %d", member, len(first.returns))
	}
	config := Config{
		Interface: first.config.Interface, Queue: first.config.Queue, Mode: first.config.Mode,
		RXSize: rxSize,
	}
	if err := checkRing("RX", rxSize); err != nil {
		return nil, err
	}
	s := &Socket{fd: -1, config: config, back: first.returns[member], frames: frames{
		umem: first.frames.umem, size: first.frames.size, count: first.frames.count,
		holders: first.frames.holders,
	}}
	if err := s.open(func(s *Socket) error { return s.bindShared(first.fd) }); err != nil {
		return nil, err
	}
	return s, nil
}

// Owed is how many frames this socket has freed and the first one has not taken back.
func (s *Socket) Owed() int { return s.back.held() }

// giveBack ends the worker's hold on frames of a socket that joined.
func (s *Socket) giveBack(descs []Desc) {
	r := s.back
	produced := r.produced.Load()
	if free := len(r.slots) - int(produced-r.consumed.Load()); free < len(descs) {
		panic(fmt.Sprintf("BUG: %d frames come back where there is room for %d", len(descs), free))
	}
	for i := range descs {
		addr := s.frames.base(descs[i].Addr)
		if verify {
			s.frames.move(addr, holderWorker, holderReturn)
			s.frames.spoil(addr)
		}
		r.slots[(produced+uint32(i))&r.mask] = addr
	}
	// Pairs with the load in TakeReturns: the slots are written, and nobody reads the frames any more.
	r.produced.Store(produced + uint32(len(descs)))
	s.frames.working -= len(descs)
}

// TakeReturns puts the frames that joined sockets have freed into the fill ring, or on the free list where it
// has no room, and returns their number. Wakeup follows.
func (s *Socket) TakeReturns() int {
	taken := 0
	for _, r := range s.returns {
		consumed, produced := r.consumed.Load(), r.produced.Load()
		if consumed == produced {
			continue
		}
		for i := consumed; i != produced; i++ {
			addr := r.slots[i&r.mask]
			if verify {
				s.frames.move(addr, holderReturn, holderFree)
			}
			s.frames.list = append(s.frames.list, addr)
		}
		r.consumed.Store(produced)
		taken += int(produced - consumed)
	}
	if taken == 0 {
		return 0
	}
	s.frames.receiving -= taken
	if s.refill() > 0 {
		s.fill.Submit()
	}
	return taken
}

// Returned is the greatest number of frames that a joined socket has on their way back: those that
// TakeReturns would find.
func (s *Socket) Returned() int {
	most := 0
	for _, r := range s.returns {
		most = max(most, r.held())
	}
	return most
}
