package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"culvert/dataplane"
)

// pagesEvery is how often the workers' memory is looked at: a page takes the kernel about 0.1 µs, so that
// even 1 GiB of frames costs housekeeping less than one per cent of a CPU.
const pagesEvery = 5 * time.Second

// keepPages looks where the workers' memory lies until the context ends.
func (g *Gateway) keepPages(ctx context.Context) {
	tick := time.NewTicker(pagesEvery)
	defer tick.Stop()
	for said := ""; ; {
		looked := make([]dataplane.Pages, len(g.workers))
		why := ""
		for i, w := range g.workers {
			pages, err := w.Pages()
			if err != nil {
				why = err.Error()
				continue
			}
			looked[i] = pages
		}
		if why != said && ctx.Err() == nil {
			said = why
			if why != "" {
				g.log.Warn("no look at where memory lies", "error", why)
			}
		}
		g.mutex.Lock()
		g.pages = looked
		g.mutex.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pagesShown is what the last look found of a worker, by kind of memory and node. The mutex is held.
func (g *Gateway) pagesShown(worker int) map[string]map[int]int {
	shown := map[string]map[int]int{}
	if worker >= len(g.pages) {
		return shown
	}
	for kind, counts := range g.pages[worker] {
		if len(counts) > 0 {
			shown[dataplane.PageKind(kind).String()] = counts
		}
	}
	return shown
}

// strayPages says which of a worker's pages lie on other nodes than its own.
func strayPages(worker, node int, pages *dataplane.Pages) (found []string) {
	if node < 0 {
		return nil
	}
	for kind := range dataplane.PageKinds {
		astray := pages.Astray(kind, node)
		if astray == 0 {
			continue
		}
		var where []string
		all := 0
		for _, on := range slices.Sorted(maps.Keys(pages[kind])) {
			if n := pages[kind][on]; on >= 0 {
				all += n
				if on != node {
					where = append(where, fmt.Sprintf("%d on node %d", n, on))
				}
			}
		}
		found = append(found, fmt.Sprintf("worker %d is on node %d, and of %d pages of its %s %s: restart "+
			"the gateway; `sysctl -w kernel.numa_balancing=0` keeps the kernel from moving pages", worker,
			node, all, kind, strings.Join(where, ", ")))
	}
	return found
}
