package numa

import (
	"os"
	"testing"
	"unsafe"
)

// Goal: the whole pages of memory, wherever it begins and ends.
func TestWholePages(t *testing.T) {
	page := os.Getpagesize()
	memory, err := Alloc(4*page, -1, HugeOff)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	all := memory.Bytes()
	f := func(from, to, first, pages int) {
		t.Helper()
		got := WholePages(all[from:to])
		if len(got) != pages*page || pages > 0 && unsafe.SliceData(got) != &all[first*page] {
			t.Errorf("%d to %d: %d bytes, want %d pages from %d on", from, to, len(got), pages, first)
		}
	}
	f(0, 4*page, 0, 4)
	f(1, 4*page, 1, 3)
	f(0, 4*page-1, 0, 3)
	f(1, 2*page-1, 0, 0)
	f(100, 200, 0, 0)
	f(page-1, 2*page+1, 1, 1)
	f(0, 0, 0, 0)
}

// Goal: pages that lie elsewhere are moved to a node, those that are there already are left. Method: plain
// memory is moved from each node to each other one; on a machine with one node it only stays.
func TestGather(t *testing.T) {
	nodes := nodesWithMemory(t)
	const pages = 2*movePagesBatch + 7
	memory, err := Alloc(pages*os.Getpagesize(), -1, HugeOff)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	if _, err := Gather(memory.Bytes(), nodes[0]); err != nil {
		t.Fatal(err)
	}
	for _, node := range append(nodes, nodes[0]) {
		before, err := PagesOn(memory.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		moved, err := Gather(memory.Bytes(), node)
		if err != nil || moved != pages-before[node] {
			t.Fatalf("to node %d: %d pages moved, %v before: %v", node, moved, before, err)
		}
		if after, err := PagesOn(memory.Bytes()); err != nil || after[node] != pages {
			t.Fatalf("to node %d: %v, %v", node, after, err)
		}
		if on, err := StackNode(node); err != nil || on != node {
			t.Fatalf("the stack is on node %d and not on %d: %v", on, node, err)
		}
	}
	if _, err := Gather(memory.Bytes(), 1000); len(nodes) == 1 && err == nil {
		t.Fatal("pages moved to a node that is not there")
	}
}
