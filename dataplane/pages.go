package dataplane

import (
	"fmt"

	"culvert/numa"
)

// PageKind is what pages of a worker are for.
type PageKind uint8

const (
	// FramePages are the queues' frames (UMEM).
	FramePages PageKind = iota
	// SendPages are batches and the heads of requests.
	SendPages
	// RingPages are the rings shared with the kernel: AF_XDP's and io_uring's. The kernel makes them, on the
	// node that the worker's thread prefers. Some kernels do not tell where (io_uring's before 6.10).
	RingPages
	// RulePages are the states of rules. They are of the Go heap, and only such that hold nothing else count.
	RulePages
	// StackPages is the page that the worker's stack is on.
	StackPages
	// PageKinds is their number.
	PageKinds
)

func (k PageKind) String() string {
	return [PageKinds]string{"frames", "sends", "rings", "rules", "stack"}[k]
}

// Pages counts a worker's pages of each kind by the node that they lie on; under −1 those that were never
// touched, or of which the kernel does not tell.
type Pages [PageKinds]map[int]int

// Astray counts the pages of a kind that lie on other nodes than this one.
func (p *Pages) Astray(kind PageKind, node int) (pages int) {
	for on, n := range p[kind] {
		if on >= 0 && on != node {
			pages += n
		}
	}
	return pages
}

// piece is memory of a worker.
type piece struct {
	kind   PageKind
	memory []byte
}

// Pages looks where this worker's memory lies. The states of rules and the stack are the Go runtime's, which
// does not ask for nodes when it uses memory again: those that lie elsewhere are moved to the worker's node
// first. The control plane calls it, and the looking is done on its thread: the worker only names the pieces.
func (w *Worker) Pages() (Pages, error) {
	var pages Pages
	for kind := range pages {
		pages[kind] = map[int]int{}
	}
	home := w.config.Node
	var pieces []piece
	err := w.Do(func() error {
		pieces = w.pieces()
		node, err := numa.StackNode(home)
		pages[StackPages][node]++
		return err
	})
	if err != nil {
		return pages, fmt.Errorf("look at the memory of worker %q: %w", w.config.Name, err)
	}
	for _, p := range pieces {
		if p.kind == RulePages && home >= 0 {
			if _, err := numa.Gather(p.memory, home); err != nil {
				return pages, fmt.Errorf("gather the rules' states of worker %q: %w", w.config.Name, err)
			}
		}
		counts, err := numa.PagesOn(p.memory)
		if err != nil {
			return pages, fmt.Errorf("look at the memory of worker %q: %w", w.config.Name, err)
		}
		for node, n := range counts {
			pages[p.kind][node] += n
		}
	}
	return pages, nil
}

// pieces names the worker's memory, on its thread.
func (w *Worker) pieces() []piece {
	var list []piece
	add := func(kind PageKind, memory []byte) {
		if len(memory) > 0 {
			list = append(list, piece{kind, memory})
		}
	}
	for _, q := range w.queues {
		// The frames of a socket that joined are of the first one's worker.
		if q.memory != nil {
			add(FramePages, q.memory.Bytes())
		}
		for _, ring := range q.socket.Mappings() {
			add(RingPages, ring)
		}
	}
	for _, m := range w.memory {
		add(SendPages, m.Bytes())
	}
	if w.ring != nil {
		for _, ring := range w.ring.Mappings() {
			add(RingPages, ring)
		}
	}
	if w.rules != nil {
		w.rules.Memory(func(memory []byte) { add(RulePages, numa.WholePages(memory)) })
	}
	return list
}
