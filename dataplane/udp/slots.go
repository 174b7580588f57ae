package udp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// payloadMax is the longest payload of a datagram, and of a row joined by GRO: UDP's length field has 16
// bits.
const payloadMax = 65535

// Where things lie. A message is struct mmsghdr of include/linux/socket.h on a 64-bit machine, a vector is
// struct iovec; the test compares both with x/sys.
const (
	messageSize          = 64
	messageName          = 0
	messageNameLength    = 8
	messageVector        = 16
	messageVectorLength  = 24
	messageControl       = 32
	messageControlLength = 40
	messageFlags         = 48
	messageLength        = 56

	vectorSize = 16

	// The head of a slot holds the sender's address (struct sockaddr_in6, 28 bytes) and the control
	// messages: at most one of each of destination (20 bytes), time (16) and segment size (4), 96 bytes
	// with their headers. Five cache lines rather than four, so that the slots' payloads, 64 KiB apart, do
	// not all fall into the same sets of the cache.
	nameSize    = 32
	controlSize = headSize - nameSize
	headSize    = 5 * lineSize
	lineSize    = 64
)

// slots is the receive memory laid out: all messages, all vectors, then the slots. It keeps offsets; the
// addresses that the kernel reads point from this memory into itself.
type slots struct {
	memory  []byte // begins at a cache line
	count   int
	payload int // bytes of a slot's payload area
	vectors int // offset of the first vector
	first   int // offset of the first slot
	stride  int // bytes from one slot to the next
}

// MemorySize is how many bytes of Config.Memory hold this many slots of the largest size.
func MemorySize(slots int) int {
	return 2*lineSize + slots*(messageSize+vectorSize+headSize+roundUp(payloadMax))
}

func roundUp(n int) int { return (n + lineSize - 1) &^ (lineSize - 1) }

// layOut divides the memory into as many slots as it holds, at most what one recvmmsg takes (UIO_MAXIOV).
func layOut(memory []byte, payload int) (slots, error) {
	const countMax = 1024
	if payload < 1 || payload > payloadMax {
		return slots{}, fmt.Errorf("lay out receive memory: datagrams of %d bytes, want 1 to %d", payload,
			payloadMax)
	}
	if skip := misalignment(memory); skip <= len(memory) {
		memory = memory[skip:]
	}
	s := slots{memory: memory, payload: payload, stride: headSize + roundUp(payload)}
	// One line is set aside for what rounding up the first slot's place may take.
	s.count = min((len(memory)-lineSize)/(messageSize+vectorSize+s.stride), countMax)
	if s.count < 1 {
		return slots{}, fmt.Errorf("lay out receive memory: %d bytes hold no slot, want %d or more",
			len(memory), MemorySize(1))
	}
	s.vectors = s.count * messageSize
	s.first = roundUp(s.vectors + s.count*vectorSize)
	base := uint64(addressOf(memory))
	for i := range s.count {
		slot, vector := s.slot(i), s.vectors+i*vectorSize
		binary.NativeEndian.PutUint64(memory[vector:], base+uint64(slot+headSize))
		binary.NativeEndian.PutUint64(memory[vector+8:], uint64(payload))
		m := s.message(i)
		clear(m)
		binary.NativeEndian.PutUint64(m[messageName:], base+uint64(slot))
		binary.NativeEndian.PutUint64(m[messageVector:], base+uint64(vector))
		binary.NativeEndian.PutUint64(m[messageVectorLength:], 1)
		binary.NativeEndian.PutUint64(m[messageControl:], base+uint64(slot+nameSize))
		s.rearm(i)
	}
	return s, nil
}

func (s *slots) slot(i int) int { return s.first + i*s.stride }

func (s *slots) message(i int) []byte {
	return s.memory[i*messageSize : (i+1)*messageSize : (i+1)*messageSize]
}

// rearm restores what the kernel overwrote with what it delivered, so that the slot can be filled again.
func (s *slots) rearm(i int) {
	m := s.message(i)
	binary.NativeEndian.PutUint32(m[messageNameLength:], nameSize)
	binary.NativeEndian.PutUint64(m[messageControlLength:], controlSize)
}

// arrived is what the kernel put into a slot.
type arrived struct {
	payload, name, control []byte
	truncated              bool
}

func (s *slots) arrived(i int) arrived {
	m, slot := s.message(i), s.slot(i)
	length := min(int(binary.NativeEndian.Uint32(m[messageLength:])), s.payload)
	control := min(int(binary.NativeEndian.Uint64(m[messageControlLength:])), controlSize)
	return arrived{
		payload:   s.memory[slot+headSize : slot+headSize+length : slot+headSize+length],
		name:      s.memory[slot : slot+nameSize],
		control:   s.memory[slot+nameSize : slot+nameSize+control],
		truncated: binary.NativeEndian.Uint32(m[messageFlags:])&unix.MSG_TRUNC != 0,
	}
}
