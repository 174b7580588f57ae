//go:build unix

package lineproto

import (
	"os"
	"syscall"
	"testing"
)

// No path reads behind a payload: each length that ends with a page is read where the next page can't be.
func TestPayloadsEndWithTheirPage(t *testing.T) {
	page := os.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("map two pages: %v", err)
	}
	defer func() {
		if err := syscall.Munmap(memory); err != nil {
			t.Errorf("unmap two pages: %v", err)
		}
	}()
	if err := syscall.Mprotect(memory[page:], syscall.PROT_NONE); err != nil {
		t.Fatalf("protect the second page: %v", err)
	}
	var e everyPath
	for _, name := range corpusNames() {
		text := corpus(name, 14)[0]
		for length := range 257 {
			payload := memory[page-length : page : page]
			copy(payload, text)
			for path := pathWords; path <= best(); path++ {
				want := e.decode(path, text[:length:length], Nanosecond)
				if got := e.decode(path, payload, Nanosecond); got != want {
					t.Fatalf("%q by %s at a page's end gives\n%s\nwant\n%s", payload, path, got, want)
				}
			}
		}
	}
}
