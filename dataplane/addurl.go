package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"culvert/dataplane/influx"
	"culvert/numa"
)

// AddURL gives a sink one URL more while the worker runs: the next one behind those of all sinks, with memory
// of its own. No point goes there before the sink's table, or its order, names it, and neither must do so
// before all workers have it. spool is its port, nil where none is kept; writer is as SinkConfig.Writers are.
// Calls come one at a time, and for all workers in the same order: they count URLs alike. The memory is the
// worker's node's, and its ring has it registered from then on.
func (w *Worker) AddURL(sink int, writer influx.Config, spool *SpoolPort) error {
	c := &w.config.Sinks[sink]
	// Taken here, since touching all of its pages takes milliseconds.
	batches, err := numa.Alloc(c.Batches*c.BatchBytes, w.config.Node, c.HugePages)
	if err != nil {
		return fmt.Errorf("allocate batches: %w", err)
	}
	heads, err := numa.Alloc(influx.MemorySize(writer), w.config.Node, numa.HugeOff)
	if err != nil {
		return errors.Join(fmt.Errorf("allocate request heads: %w", err), batches.Close())
	}
	// Should the worker be stuck, the memory stays with the command, which may still run.
	return w.Do(func() error {
		if err := w.addURL(sink, writer, spool, batches, heads); err != nil {
			return errors.Join(err, batches.Close(), heads.Close())
		}
		return nil
	})
}

// addURL is AddURL's part on the worker's thread.
func (w *Worker) addURL(sink int, writer influx.Config, spool *SpoolPort, batches, heads *numa.Memory) error {
	c := w.config.Sinks[sink]
	if len(w.urls) == LanesMax {
		return fmt.Errorf("add a URL: there are %d of at most %d", len(w.urls), LanesMax)
	}
	// Others may have been given the same memory with the configuration.
	c.Writers = append(slices.Clip(c.Writers), writer)
	if spool != nil {
		c.Spools = append(slices.Clip(c.Spools), spool)
	}
	o := new(lane)
	if err := w.openLane(o, &c, len(c.Writers)-1, batches.Bytes(), heads.Bytes()); err != nil {
		return err
	}
	w.memory = append(w.memory, batches, heads)
	w.config.Sinks[sink] = c
	w.urls = append(w.urls, o)
	w.widen(sink, o)
	w.showLanes()
	return nil
}

// widen gives each tenant of a sink a lane to a URL that came: the first of them the one that stands for it.
func (w *Worker) widen(sink int, first *lane) {
	next := first
	add := func(o *lane) {
		o.place = len(w.lanes)
		w.lanes = append(w.lanes, o)
	}
	for tenant := range w.routes {
		if w.sinkOf(tenant) != sink {
			continue
		}
		r := &w.routes[tenant]
		o := next
		if o == nil {
			o = first.beside()
		}
		o.tenant, o.sharing, o.route = tenant, r.lanes[0].sharing, r
		add(o)
		r.lanes = append(r.lanes, o)
		r.refresh()
		next = nil
	}
	if next != nil {
		add(next) // No tenant sends there.
	}
}

// LeaveURL lets a URL get nothing more, once neither the sink's table nor its order names it and the worker
// has been told by Reroute: what the worker has for it goes to its spool, but for what is under way, whose
// answer counts. Where no spool is kept what the worker has is still sent.
func (w *Worker) LeaveURL(url int) error {
	return w.Do(func() error {
		if o := w.urls[url]; o.spool != nil {
			// Before what is open is sealed: an idle connection would take it.
			o.writer.Leave()
		}
		now := w.clock.Now()
		for _, o := range w.lanes {
			if o.index == url {
				w.seal(o, now)
			}
		}
		return nil
	})
}

// ReturnURL ends LeaveURL.
func (w *Worker) ReturnURL(url int) error {
	return w.Do(func() error {
		o := w.urls[url]
		o.writer.Return()
		if o.spool != nil {
			// Where batches keep their order, those that come go behind what the spool still has.
			o.writer.StayBehind()
		}
		return nil
	})
}
