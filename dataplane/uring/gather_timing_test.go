package uring

import (
	"io"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// opSendMessageZC is sent by no product code; decision 0021 says why.
const opSendMessageZC = 48

// BenchmarkGather is what a worker's core pays for lines that lie in the frames of packets, in nanoseconds of
// its thread's time for each line of 92 bytes: copied together into a batch first, as the writer has it, or
// sent from where they lie as one vector of 200 pieces, with the kernel's copy and without it. Over loopback
// the kernel copies zero-copy pieces after all, on their way to the receiver.
func BenchmarkGather(b *testing.B) {
	for _, way := range []string{"copied", "copied_zc", "pieces", "pieces_zc"} {
		b.Run(way, func(b *testing.B) { benchmarkGather(b, way) })
	}
}

func benchmarkGather(b *testing.B, way string) {
	const (
		frames, frameSize = 8192, 2048 // as a queue's
		first, lines      = 298, 14    // of a packet's payload, and its lines
		piece             = lines * 92
		pieces            = 200
	)
	r := newRing(b, 64)
	fd, peer := pair(b)
	go func() { _, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, peer, make([]byte, 1<<20)) }()
	slab, batch := memory(b, frames*frameSize), memory(b, pieces*piece)
	for i := range slab {
		slab[i] = byte(i) // Pages that nobody has written to are all the same one.
	}
	vector := make([]unix.Iovec, pieces)
	message := unix.Msghdr{Iov: &vector[0], Iovlen: pieces}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&message)), unsafe.Sizeof(message))
	b.SetBytes(pieces * piece)
	at := 0
	var used int64
	for b.Loop() {
		before := threadNow(b)
		e := r.Reserve()
		for i := range pieces {
			text := slab[at*frameSize+first:][:piece]
			if way == "copied" || way == "copied_zc" {
				copy(batch[i*piece:], text)
			} else {
				vector[i].Base = &text[0]
				vector[i].SetLen(piece)
			}
			at = (at + 1) % frames
		}
		switch way {
		case "copied":
			e.Send(fd, batch, unix.MSG_WAITALL, 1)
		case "copied_zc":
			e.sendZC(fd, batch, unix.MSG_WAITALL, 1)
		case "pieces":
			e.SendMessage(fd, raw, unix.MSG_WAITALL, 1)
		default:
			e.SendMessage(fd, raw, unix.MSG_WAITALL, 1)
			e.opcode = opSendMessageZC
		}
		gathered(b, r, pieces*piece)
		used += threadNow(b) - before
	}
	b.ReportMetric(float64(used)/float64(b.N)/(pieces*lines), "cpu-ns/line")
}

// gathered waits until the kernel has let go of all bytes of a send.
func gathered(b *testing.B, r *Ring, size int32) {
	var cqe CQE
	for {
		if err := r.EnterWait(int64(time.Second)); err != nil {
			b.Fatal(err)
		}
		for r.Next(&cqe) {
			switch {
			case cqe.Flags&Notification != 0:
				return
			case cqe.Result != size:
				b.Fatalf("sent: %+v", cqe)
			case cqe.Flags&More == 0:
				return
			}
		}
	}
}

// threadNow is what the calling thread has used of its core, in nanoseconds.
func threadNow(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}
