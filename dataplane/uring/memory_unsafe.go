package uring

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// newSubmission lays the submission ring over memory as the kernel's offsets say. rings holds the indices,
// sqes the entries.
func newSubmission(
	rings, sqes []byte, entries uint32, o *submissionOffsets, array bool,
) (*submission, error) {
	if entries == 0 || entries&(entries-1) != 0 {
		return nil, fmt.Errorf("lay out submission ring: %d entries are no power of two", entries)
	}
	if need := int(entries) * int(unsafe.Sizeof(SQE{})); len(sqes) < need {
		return nil, fmt.Errorf("lay out submission ring: entries need %d bytes, have %d", need, len(sqes))
	}
	q := &submission{mask: entries - 1}
	for _, index := range []struct {
		at   uint32
		into **atomic.Uint32
	}{{o.head, &q.head}, {o.tail, &q.tail}, {o.flags, &q.flags}} {
		if err := within(rings, index.at, 4); err != nil {
			return nil, fmt.Errorf("lay out submission ring: %w", err)
		}
		*index.into = (*atomic.Uint32)(unsafe.Pointer(&rings[index.at]))
	}
	q.entries = unsafe.Slice((*SQE)(unsafe.Pointer(unsafe.SliceData(sqes))), entries)
	if array {
		if err := within(rings, o.array, 4*entries); err != nil {
			return nil, fmt.Errorf("lay out submission ring: %w", err)
		}
		// Entries are always used in order: slot i of the ring names entry i, for good.
		indices := unsafe.Slice((*uint32)(unsafe.Pointer(&rings[o.array])), entries)
		for i := range indices {
			indices[i] = uint32(i)
		}
	}
	q.next = q.tail.Load()
	return q, nil
}

// newCompletion lays the completion ring over memory as the kernel's offsets say.
func newCompletion(rings []byte, entries uint32, o *completionOffsets) (*completion, error) {
	if entries == 0 || entries&(entries-1) != 0 {
		return nil, fmt.Errorf("lay out completion ring: %d entries are no power of two", entries)
	}
	q := &completion{mask: entries - 1}
	for _, index := range []struct {
		at   uint32
		into **atomic.Uint32
	}{{o.head, &q.head}, {o.tail, &q.tail}} {
		if err := within(rings, index.at, 4); err != nil {
			return nil, fmt.Errorf("lay out completion ring: %w", err)
		}
		*index.into = (*atomic.Uint32)(unsafe.Pointer(&rings[index.at]))
	}
	if err := within(rings, o.cqes, entries*uint32(unsafe.Sizeof(CQE{}))); err != nil {
		return nil, fmt.Errorf("lay out completion ring: %w", err)
	}
	q.entries = unsafe.Slice((*CQE)(unsafe.Pointer(&rings[o.cqes])), entries)
	q.next = q.head.Load()
	q.seen = q.next
	return q, nil
}

// within checks that size bytes from offset lie in memory and are aligned as an index must be.
func within(memory []byte, offset, size uint32) error {
	if uint64(offset)+uint64(size) > uint64(len(memory)) {
		return fmt.Errorf("%d bytes at %d exceed the ring's %d", size, offset, len(memory))
	}
	if offset%4 != 0 {
		return fmt.Errorf("offset %d is not aligned", offset)
	}
	return nil
}

// addressOf is where bytes lie, for the kernel. The bytes must lie outside of the Go heap and stay mapped
// until the operation has completed.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
