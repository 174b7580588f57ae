package xsk

import "fmt"

// Receive takes up to len(into) packets and returns their number. Their frames are the worker's until it
// frees or transmits them.
func (s *Socket) Receive(into []Desc) int {
	n := s.rx.Peek(into)
	if n == 0 {
		return 0
	}
	s.rx.Release(n)
	s.frames.receiving -= n
	s.frames.working += n
	if verify {
		for i := range into[:n] {
			s.frames.move(into[i].Addr, holderReceive, holderWorker)
		}
	}
	return n
}

// UMEM is the memory that descriptors point into. Who reads a packet there, or the metadata in front of it,
// holds its frame.
func (s *Socket) UMEM() []byte { return s.frames.umem }

// Packet is the packet's bytes in its frame. They are valid until the frame is freed or transmitted.
func (s *Socket) Packet(d Desc) []byte {
	if verify {
		s.frames.move(d.Addr, holderWorker, holderWorker)
	}
	end := d.Addr + uint64(d.Len)
	return s.frames.umem[d.Addr:end:end]
}

// Headroom is the n bytes in front of the packet, where an XDP program leaves its metadata. They are valid as
// long as the packet is. The descriptor does not say whether there is any: stale bytes of an earlier packet
// look the same, so that what is there must prove itself. There are XDP_PACKET_HEADROOM (256) bytes in front
// of a packet that the program did not shift.
func (s *Socket) Headroom(d Desc, n int) []byte {
	if verify {
		s.frames.move(d.Addr, holderWorker, holderWorker)
		if s.frames.base(d.Addr)+uint64(n) > d.Addr {
			panic(fmt.Sprintf("BUG: %d bytes in front of address %d are not all of its frame", n, d.Addr))
		}
	}
	return s.frames.umem[d.Addr-uint64(n) : d.Addr : d.Addr]
}

// Free ends the worker's hold on these frames: they go to the fill ring, published once, or to the free list
// where the ring is full or frames are lacking for sending. The descriptors may be of packets received and of
// frames allocated. Wakeup follows. Those of a socket that joined go back to the first one instead.
func (s *Socket) Free(descs []Desc) {
	n := len(descs)
	if n == 0 {
		return
	}
	if n > s.frames.working {
		panic(fmt.Sprintf("BUG: %d frames are freed, the worker holds %d", n, s.frames.working))
	}
	if s.back != nil {
		s.giveBack(descs)
		return
	}
	filled := n
	if lacking := s.frames.reserve - len(s.frames.list) - s.frames.transmitting; lacking > 0 {
		filled = max(0, n-lacking)
	}
	filled = int(s.fill.Reserve(uint32(filled)))
	for i := range descs[:filled] {
		addr := s.frames.base(descs[i].Addr)
		if verify {
			s.frames.move(addr, holderWorker, holderReceive)
			s.frames.spoil(addr)
		}
		s.fill.Put(addr)
	}
	for i := range descs[filled:] {
		addr := s.frames.base(descs[filled+i].Addr)
		if verify {
			s.frames.move(addr, holderWorker, holderFree)
			s.frames.spoil(addr)
		}
		s.frames.list = append(s.frames.list, addr)
	}
	s.frames.working -= n
	s.frames.receiving += filled
	if s.frames.surplus() > 0 {
		filled += s.refill()
	}
	if filled > 0 {
		s.fill.Submit()
	}
}

// refill puts what the free list has to spare into the fill ring and returns how many frames it put. Submit
// publishes them.
func (s *Socket) refill() int {
	n := s.frames.surplus()
	if n <= 0 {
		return 0
	}
	n = int(s.fill.Reserve(uint32(n)))
	for range n {
		last := len(s.frames.list) - 1
		addr := s.frames.list[last]
		s.frames.list = s.frames.list[:last]
		if verify {
			s.frames.move(addr, holderFree, holderReceive)
		}
		s.fill.Put(addr)
	}
	s.frames.receiving += n
	return n
}

// Frames says who holds how many frames. The kernel moves some meanwhile: the RX ring is looked at first, so
// that no frame is counted twice. Of a socket that joined it shows what its RX ring and its worker hold.
func (s *Socket) Frames() Frames {
	f := Frames{
		Free: len(s.frames.list), Worker: s.frames.working, Transmit: s.frames.transmitting,
	}
	for _, r := range s.returns {
		f.Returns += r.held()
	}
	if s.back != nil {
		f.RX = s.rx.Held()
		return f
	}
	if s.receives {
		f.RX = s.rx.Held()
		f.Fill = s.fill.Held()
	}
	f.Kernel = s.frames.receiving - f.RX - f.Fill - f.Returns
	return f
}
