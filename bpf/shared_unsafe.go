package bpf

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// sharedWords is the value memory of an array map made with BPF_F_MMAPABLE, which the program reads while we
// write. The kernel begins it at a page, so that every word is aligned for atomic access.
type sharedWords struct {
	memory []byte
	words  []atomic.Uint64
}

func mapWords(m *ebpf.Map) (*sharedWords, error) {
	page := os.Getpagesize()
	length := int(m.ValueSize()) * int(m.MaxEntries())
	// mmap wants whole pages; the kernel allocated whole pages (array_map_alloc, kernel/bpf/arraymap.c).
	mapped := (length + page - 1) / page * page
	memory, err := unix.Mmap(m.FD(), 0, mapped, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap %d bytes: %w", mapped, err)
	}
	words := unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&memory[0])), length/8)
	return &sharedWords{memory: memory, words: words}, nil
}

func (s *sharedWords) unmap() error {
	s.words = nil
	return unix.Munmap(s.memory)
}
