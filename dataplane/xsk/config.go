package xsk

import (
	"errors"
	"fmt"
	"os"
)

// Mode says how a socket is to be bound.
type Mode uint8

const (
	// Auto takes zero copy where the driver has it and copy otherwise; Socket.ZeroCopy tells which it is.
	Auto Mode = iota
	// ZeroCopy fails where the driver does not have it.
	ZeroCopy
	// Copy lets the kernel copy each packet into the UMEM. It works with every driver, and is the only mode
	// under an XDP program that is attached in generic mode.
	Copy
)

// String is the mode's word in messages.
func (m Mode) String() string {
	switch m {
	case ZeroCopy:
		return "zero-copy"
	case Copy:
		return "copy"
	default:
		return "auto"
	}
}

// Config is what a socket needs.
type Config struct {
	Interface int // ifindex, in the network namespace of the thread that calls Open
	Queue     int
	Mode      Mode

	// UMEM is page-aligned memory outside of the Go heap, a multiple of FrameSize long. The caller keeps it
	// until after Close, and touches no frame that it does not hold.
	UMEM      []byte
	FrameSize int // 2048 or 4096, at most a page

	// FillSize and RXSize are the slots of the rings for receiving, powers of two; both are 0 in a socket
	// that only sends. Frames that do not fit into the fill ring wait on the free list.
	FillSize, RXSize int
	// TXSize and CompletionSize are those for sending; TXSize is 0 in a socket that only receives, whose
	// completion ring is unused.
	TXSize, CompletionSize int
	// TXFrames (optional) is how many frames are kept for sending; 0 lets Allocate find only what the fill
	// ring had no room for.
	TXFrames int
	// Members (optional) is how many further sockets can join this one on its queue.
	Members int
	// Segments asks for packets longer than a frame: they come as several descriptors, all but the last one
	// marked by Continues. It takes Linux 6.6.
	Segments bool
}

const (
	frameSizeMin = 2048 // XDP_UMEM_MIN_CHUNK_SIZE (include/net/xdp_sock.h)
	// unusedSize is the size of a ring that the kernel demands but nothing goes through.
	unusedSize = 1
	// ringSizeMax bounds the rings: more slots than any NIC's line rate fills in a second.
	ringSizeMax = 1 << 22
)

// frameCount is the number of frames in the UMEM.
func (c *Config) frameCount() int { return len(c.UMEM) / c.FrameSize }

// validate checks the relations between the sizes and fills in the rings that the kernel demands.
func (c *Config) validate() error {
	if c.Interface <= 0 || c.Queue < 0 {
		return fmt.Errorf("interface %d, queue %d: the one is at least 1, the other at least 0",
			c.Interface, c.Queue)
	}
	if c.FrameSize < frameSizeMin || c.FrameSize > os.Getpagesize() || c.FrameSize&(c.FrameSize-1) != 0 {
		return fmt.Errorf("frame size %d is not a power of two from %d to a page (%d)",
			c.FrameSize, frameSizeMin, os.Getpagesize())
	}
	if len(c.UMEM) == 0 || len(c.UMEM)%c.FrameSize != 0 || umemAddress(c.UMEM)%uint64(os.Getpagesize()) != 0 {
		return fmt.Errorf("UMEM of %d bytes is not page-aligned or no multiple of the frame size %d",
			len(c.UMEM), c.FrameSize)
	}
	if c.RXSize == 0 && c.TXSize == 0 {
		return errors.New("neither an RX nor a TX ring is asked for")
	}
	if c.RXSize > 0 && c.FillSize == 0 {
		return errors.New("an RX ring without a fill ring receives nothing")
	}
	if c.TXFrames < 0 || c.TXFrames > c.frameCount() || c.RXSize > 0 && c.TXFrames == c.frameCount() {
		return fmt.Errorf("%d of %d frames are kept for sending", c.TXFrames, c.frameCount())
	}
	if c.Members < 0 || c.Members > 0 && c.RXSize == 0 {
		return fmt.Errorf("%d sockets are to join one that receives nothing", c.Members)
	}
	if c.FillSize == 0 {
		c.FillSize = unusedSize
	}
	if c.CompletionSize == 0 && c.TXSize == 0 {
		c.CompletionSize = unusedSize
	}
	for _, ring := range []struct {
		name string
		size int
		used bool
	}{
		{"fill", c.FillSize, true}, {"completion", c.CompletionSize, true},
		{"RX", c.RXSize, c.RXSize != 0}, {"TX", c.TXSize, c.TXSize != 0},
	} {
		if !ring.used {
			continue
		}
		if err := checkRing(ring.name, ring.size); err != nil {
			return err
		}
	}
	return nil
}

func checkRing(name string, size int) error {
	if size <= 0 || size > ringSizeMax || size&(size-1) != 0 {
		return fmt.Errorf("%s ring of %d slots: the size is a power of two up to %d", name, size, ringSizeMax)
	}
	return nil
}
