package xsk

import "fmt"

// Allocate takes up to len(into) free frames for the worker to write packets into, and returns their number.
// Each descriptor names a whole frame: the worker writes from its beginning and sets Len.
func (s *Socket) Allocate(into []Desc) int {
	n := min(len(into), len(s.frames.list))
	for i := range n {
		last := len(s.frames.list) - 1
		addr := s.frames.list[last]
		s.frames.list = s.frames.list[:last]
		if verify {
			s.frames.move(addr, holderFree, holderWorker)
		}
		into[i] = Desc{Addr: addr, Len: uint32(s.frames.size)}
	}
	s.frames.working += n
	return n
}

// Transmit gives packets to the kernel and returns how many: as many of the first as the TX ring has room
// for. The rest stay the worker's. Packets may lie in frames allocated or received. Wakeup follows; the
// frames come back by ReapCompletions.
func (s *Socket) Transmit(descs []Desc) int {
	if len(descs) == 0 {
		return 0
	}
	if len(descs) > s.frames.working {
		panic(fmt.Sprintf("BUG: %d frames are transmitted, the worker holds %d",
			len(descs), s.frames.working))
	}
	n := int(s.tx.Reserve(uint32(len(descs))))
	for i := range descs[:n] {
		d := descs[i]
		// The kernel skips what it takes for no packet, and the frame never comes back
		// (xskq_cons_is_valid_desc, net/xdp/xsk_queue.h).
		if d.Len == 0 || d.Addr-s.frames.base(d.Addr)+uint64(d.Len) > s.frames.size || d.Options != 0 {
			panic(fmt.Sprintf("BUG: desc address=%d length=%d options=%d is no packet in one frame of %d",
				d.Addr, d.Len, d.Options, s.frames.size))
		}
		if verify {
			s.frames.move(d.Addr, holderWorker, holderTransmit)
		}
		s.tx.Put(d)
	}
	if n > 0 {
		s.tx.Submit()
		s.frames.working -= n
		s.frames.transmitting += n
	}
	return n
}

// ReapCompletions puts the frames of packets that were sent on the free list, or into the fill ring if more
// than the reserve is there, and returns their number.
func (s *Socket) ReapCompletions() int {
	n := s.completion.Peek()
	if n == 0 {
		return 0
	}
	if n > s.frames.transmitting {
		panic(fmt.Sprintf("BUG: %d frames were sent, %d were transmitted", n, s.frames.transmitting))
	}
	for i := range n {
		addr := s.frames.base(s.completion.Addr(i))
		if verify {
			s.frames.move(addr, holderTransmit, holderFree)
			s.frames.spoil(addr)
		}
		s.frames.list = append(s.frames.list, addr)
	}
	s.completion.Release(n)
	s.frames.transmitting -= n
	if s.receives && s.frames.surplus() > 0 && s.refill() > 0 {
		s.fill.Submit()
	}
	return n
}
