package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pageKinds is the order in which kinds of pages are shown.
var pageKinds = [...]string{"frames", "sends", "rings", "rules", "stack"}

// pagesOf is never nil, so that the document always has an object there.
func pagesOf(w *Worker) map[string]map[int]int {
	if w.Pages == nil {
		return map[string]map[int]int{}
	}
	return w.Pages
}

// pages shows where the workers' memory lies, once somebody has looked.
func (p *page) pages(workers []WorkerStatus) {
	looked := func(w WorkerStatus) bool { return len(w.Pages) > 0 }
	if !slices.ContainsFunc(workers, looked) {
		return
	}
	head := []string{"PAGES", "node"}
	p.section(append(head, pageKinds[:]...)...)
	for i := range workers {
		w := &workers[i]
		cells := []string{"  " + w.Name, number(w.Node)}
		for _, kind := range pageKinds {
			cells = append(cells, pageCell(w.Pages[kind], w.Node))
		}
		p.line(cells...)
	}
}

// pageCell is how many pages lie on the worker's node, and on which others how many do.
func pageCell(counts map[int]int, home int) string {
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(counts)) {
		switch n := counts[node]; {
		case node < 0 || n == 0:
		case node == home:
			parts = slices.Insert(parts, 0, Grouped(n))
		default:
			parts = append(parts, fmt.Sprintf("%s on %d", Grouped(n), node))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}
