package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/influx"
)

// drainInterval is how often it is looked whether all is delivered that waited for a URL that is gone.
const drainInterval = time.Second

// draining is a URL that its sink does not have any more and that still gets what waited for it, as its
// on_remove says. Workers know nothing of it: all it has is a spooler, until that has nothing left.
type draining struct {
	sink    *sink
	target  *sinkTarget
	spooler *dataplane.Spooler
	done    atomic.Bool // nothing waits any more; the spooler is closed
}

// openDrains starts a spooler for each folder of a URL that its sink does not have any more, if its on_remove
// is drain and something waits there. used are the folders that need none; those that get one join them.
func (g *Gateway) openDrains(folders []string, used map[string]bool) {
	for _, folder := range folders {
		if used[folder] {
			continue
		}
		label, waiting, err := lookInto(folder)
		if err != nil || waiting == 0 {
			continue // rehome has said so
		}
		for _, s := range g.sinks {
			if s.config.Name != label.Sink || s.config.OnRemove != "drain" {
				continue
			}
			about := []any{"sink", label.Sink, "url", label.URL, "points", waiting}
			if err := g.openDrain(s, label.URL, folder); err != nil {
				g.log.Error("what waits for a URL that is gone cannot be delivered; it stays where it is",
					append(about, "error", err)...)
				continue
			}
			g.log.Info("what waits for a URL that is gone is still delivered to it", about...)
			used[folder] = true
		}
	}
}

// openDrain starts the spooler of one URL that is gone.
func (g *Gateway) openDrain(s *sink, url, folder string) error {
	lane := dataplane.LanesMax + len(g.spools.draining) // no worker has it
	t, err := newSinkTarget(context.Background(), s.config, url, s.token, lane, g.log)
	if err != nil {
		return err
	}
	if own := t.spoolFolder(g.spools.dir); own != folder {
		return &strayFolder{folder: folder, own: own}
	}
	spooler, err := g.openSpooler(s, t, nil)
	if err != nil {
		return err
	}
	g.spools.draining = append(g.spools.draining, &draining{sink: s, target: t, spooler: spooler})
	return nil
}

// strayFolder is a spool that does not lie in the folder of its URL: somebody moved it.
type strayFolder struct{ folder, own string }

func (e *strayFolder) Error() string { return "the spool in " + e.folder + " belongs into " + e.own }

// watch follows the URL's name until nothing waits for it any more, and then lets the spooler go; or until
// the context ends.
func (d *draining) watch(ctx context.Context) {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	var follower sync.WaitGroup
	follower.Go(func() { d.target.follow(following, nil, d.spooler) })
	for range each(ctx, drainInterval) {
		state := d.spooler.State()
		if state.DiskError != "" || state.Pending() > 0 {
			continue
		}
		about := []any{"sink", d.sink.config.Name, "url", d.target.shownURL(), "points", state.Replayed}
		if err := d.spooler.Close(); err != nil {
			d.target.log.Error("close the spool of a URL that is gone", append(about, "error", err)...)
		} else {
			d.target.log.Info("nothing waits any more for a URL that is gone", about...)
		}
		d.done.Store(true)
		break
	}
	cancel()
	follower.Wait()
}

// reauthorize lets what is still delivered carry another token.
func (d *draining) reauthorize(token string) {
	d.spooler.Reauthorize(influx.Authorization(&influx.TargetConfig{
		URL: d.target.parsed, Bucket: d.sink.config.Bucket, Version: d.sink.config.Version, Token: token,
	}))
}

// shown is what the snapshot says of it: no worker has anything for it.
func (d *draining) shown() telemetry.Sink {
	state := d.spooler.State()
	return telemetry.Sink{
		Name: d.sink.config.Name, URL: d.target.url, Up: state.ReplayError == "",
		LastError: state.ReplayError, Requests: map[string]uint64{}, Spool: &state,
	}
}

// targetOf is the URL of a lane: one of a sink, or one that is gone.
func (g *Gateway) targetOf(lane int) *sinkTarget {
	if lane < dataplane.LanesMax {
		return g.urls()[lane]
	}
	return g.spools.draining[lane-dataplane.LanesMax].target
}

// isBack tells whether a URL is the one that was gone: a reload has added it since it was drained, and what
// was delivered before is its own.
func (d *draining) isBack(t *sinkTarget) bool {
	return t.config == d.target.config && t.shownURL() == d.target.shownURL()
}
