package numa

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

func nodesWithMemory(t *testing.T) []int {
	t.Helper()
	topology, err := Read("/")
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for _, node := range topology.Nodes {
		if node.HasMemory {
			ids = append(ids, node.ID)
		}
	}
	return ids
}

// Goal: memory of each node of this machine lies there, wherever the thread that asks for it runs.
func TestAllocOnEachNode(t *testing.T) {
	const size = 6 << 20
	for _, node := range nodesWithMemory(t) {
		for _, huge := range []HugePages{HugeAuto, HugeOff} {
			m, err := Alloc(size, node, huge)
			if err != nil {
				t.Fatal(err)
			}
			counts, err := PagesOn(m.Bytes())
			if err != nil || counts[node] != size/os.Getpagesize() {
				t.Fatalf("memory of node %d: pages by node %v, %v", node, counts, err)
			}
			t.Logf("node %d, %v: %s pages, %v", node, huge, m.Huge(), counts)
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Goal: memory that was never touched is counted as absent; a preferring thread's memory comes from its node.
func TestPreferNode(t *testing.T) {
	for _, node := range nodesWithMemory(t) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // Never unlocked: the policy is the thread's.
			const size = 1 << 20
			if err := PreferNode(node); err != nil {
				t.Error(err)
				return
			}
			mapping, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE,
				unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Munmap(mapping)
			if counts, err := PagesOn(mapping); err != nil || counts[-1] != size/os.Getpagesize() {
				t.Errorf("untouched memory: pages by node %v, %v", counts, err)
			}
			for i := 0; i < size; i += os.Getpagesize() {
				mapping[i] = 1
			}
			if counts, err := PagesOn(mapping); err != nil || counts[node] != size/os.Getpagesize() {
				t.Errorf("preferred node %d: pages by node %v, %v", node, counts, err)
			}
			if err := PreferNode(-1); err != nil {
				t.Error(err)
			}
		}()
		<-done
	}
	if err := PreferNode(1000); err == nil || !strings.Contains(err.Error(), "node 1000") {
		t.Fatalf("PreferNode(1000): %v", err)
	}
	if err := PreferNode(-2); err == nil || !strings.Contains(err.Error(), "not in 0-1023") {
		t.Fatalf("PreferNode(-2): %v", err)
	}
}

// Goal: explicit huge pages are used where the node has them, and a node that has too few says how many more
// it takes. Method: set some aside on each node in turn.
func TestPrivAllocExplicit(t *testing.T) {
	testenv.Need(t, unix.CAP_SYS_ADMIN)
	const pages = 4
	for _, node := range nodesWithMemory(t) {
		file := filepath.Join("/sys/devices/system/node", "node"+strconv.Itoa(node),
			"hugepages/hugepages-2048kB/nr_hugepages")
		before, err := readOptionalInt(file, -1)
		if err != nil || before < 0 {
			testenv.Skip(t, "huge pages of 2 MiB on node "+strconv.Itoa(node)+" are missing from sysfs")
		}
		set := func(n int) {
			if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		set(before + pages)
		t.Cleanup(func() { set(before) })
		if got, err := readOptionalInt(file, -1); err != nil || got != before+pages {
			t.Fatalf("node %d set %d huge pages aside, want %d: %v", node, got, before+pages, err)
		}
		for _, huge := range []HugePages{HugeAuto, HugeOn} {
			m, err := Alloc(pages*hugeSize-100, node, huge)
			if err != nil {
				t.Fatal(err)
			}
			counts, err := PagesOn(m.Bytes())
			if err != nil || len(counts) != 1 || counts[node] == 0 || m.Huge() != HugeExplicit {
				t.Fatalf("node %d: %s pages, by node %v, %v", node, m.Huge(), counts, err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		m, err := Alloc(pages*hugeSize, node, HugeImplicit)
		if err != nil || m.Huge() == HugeExplicit {
			t.Fatalf("node %d: %v, memory for which no huge pages were set aside is on some", node, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		free, err := readOptionalInt(filepath.Join(filepath.Dir(file), "free_hugepages"), -1)
		if err != nil {
			t.Fatal(err)
		}
		size := (free + 1) * hugeSize
		if m, err := Alloc(size, node, HugeOn); err == nil || !strings.Contains(err.Error(), file) {
			t.Fatalf("one huge page more than node %d has: %v, %v", node, m, err)
		}
		m, err = Alloc(size, node, HugeAuto)
		if err != nil {
			t.Fatal(err)
		}
		if m.Huge() == HugeExplicit {
			t.Fatal("more explicit huge pages than there are")
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
