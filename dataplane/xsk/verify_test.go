//go:build verify

package xsk

import (
	"bytes"
	"testing"
)

// Goal: each wrong transition ends the program and names the frame, the two sides and the real holder.
func TestHolders(t *testing.T) {
	fresh := func() (*Socket, []Desc) {
		s, k := newPlain(t, plainConfig{frames: 8, fill: 8, rx: 8, tx: 8, completion: 8, txFrames: 2})
		for range 3 {
			k.arrive(nil, []byte("packet"))
		}
		into := make([]Desc, 3)
		if s.Receive(into) != 3 {
			t.Fatal("nothing received")
		}
		return s, into
	}
	s, d := fresh()
	mustPanic(t, "from worker to kernel (receive) is held by kernel (receive)", func() {
		s.Free([]Desc{d[0], d[0]})
	})
	s, d = fresh()
	s.Free(d[:1])
	mustPanic(t, "is held by kernel (receive)", func() { s.Packet(d[0]) })
	mustPanic(t, "is held by kernel (receive)", func() { s.Headroom(d[0], 32) })
	mustPanic(t, "from worker to kernel (transmit) is held by kernel (receive)", func() { s.Transmit(d[:1]) })
	mustPanic(t, "is held by kernel (receive)", func() { s.Free(d[:1]) })
	s, d = fresh()
	s.Transmit(d[:1])
	mustPanic(t, "is held by kernel (transmit)", func() { s.Free(d[:1]) })
	s, d = fresh()
	mustPanic(t, "outside of a UMEM of 8 frames", func() { s.Packet(Desc{Addr: 8 * 2048, Len: 1}) })
	mustPanic(t, "are not all of its frame", func() { s.Headroom(d[0], 257) })
	s.frames.list = append(s.frames.list[:1], s.frames.list[0])
	mustPanic(t, "BUG: a frame is twice on the free list", s.frames.check)
	s, d = fresh()
	s.fd = 1 << 30 // As if it were open.
	mustPanic(t, "BUG: the worker holds 3 frames of a socket that is closed", func() { s.Close() })
}

// Goal: a view that is kept too long shows poison.
func TestPoison(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 8, fill: 8, rx: 8, tx: 8, completion: 8})
	k.arrive(nil, []byte("packet"))
	into := make([]Desc, 1)
	s.Receive(into)
	view := s.Packet(into[0])
	s.Free(into)
	if !bytes.Equal(view, bytes.Repeat([]byte{poison}, len(view))) {
		t.Fatalf("a freed packet still reads %q", view)
	}
}
