package xsk

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package when a test leaves a descriptor open: sockets, maps, programs, links.
func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if left := leaked(before); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "descriptors are left open:", left)
		code = 1
	}
	os.Exit(code)
}

// leaked names the descriptors that were opened since, but for those of Go's netpoller. Threads of namespaces
// close theirs a moment after their test, so it looks again for a while.
func leaked(before map[string]string) string {
	var left []string
	for range 100 {
		left = left[:0]
		for fd, target := range openDescriptors() {
			poller := target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]"
			if before[fd] != target && !poller {
				left = append(left, fd+" → "+target)
			}
		}
		if len(left) == 0 {
			return ""
		}
		time.Sleep(10 * time.Millisecond)
	}
	return strings.Join(left, ", ")
}

func openDescriptors() map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	targets := make(map[string]string)
	for _, entry := range entries {
		// The descriptor of the directory itself is gone by now, and not in the map.
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			targets[entry.Name()] = target
		}
	}
	return targets
}
