package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"culvert/dataplane/spool"
)

const (
	// replayLook is how often progress is looked at, replayPatience how long there may be none.
	replayLook     = 20 * time.Millisecond
	replayPatience = 10 * time.Second
)

// Replayed is what became of one URL's spool.
type Replayed struct {
	Sink, URL string
	// Restored points were in it; Delivered of them are in the database now, Rejected were refused, Dropped
	// are lost; the others still wait.
	Restored, Delivered, Rejected, Dropped, Pending uint64
}

// Replay delivers what waits in the spools of a configuration's sinks without a gateway, or only what waits
// for one URL. It returns when all is delivered, or with an error when a server takes nothing for a while;
// what it did until then is returned too.
func Replay(ctx context.Context, options Options, to string) ([]Replayed, error) {
	g := &Gateway{options: options, log: options.Log, started: time.Now()}
	if err := openSinks(ctx, g); err != nil {
		return nil, err
	}
	g.spools.dir = options.Config.Spool.Dir
	folders, err := spool.Directories(g.spools.dir)
	if err != nil {
		return nil, err
	}
	var done []Replayed
	for _, s := range g.sinks {
		for _, t := range s.targets {
			if to != "" && t.shownURL() != to || !slices.Contains(folders, t.spoolFolder(g.spools.dir)) {
				continue
			}
			one, err := g.replayOne(ctx, s, t)
			if err != nil {
				return append(done, one), fmt.Errorf("replay to %s: %w", t.shownURL(), err)
			}
			done = append(done, one)
		}
	}
	return done, nil
}

// replayOne empties the spool of one URL.
func (g *Gateway) replayOne(ctx context.Context, s *sink, t *sinkTarget) (done Replayed, err error) {
	done = Replayed{Sink: s.config.Name, URL: t.shownURL()}
	spooler, err := g.openSpooler(s, t, nil)
	if err != nil {
		return done, err
	}
	defer func() {
		err = errors.Join(err, spooler.Close())
		state := spooler.State()
		done.Restored, done.Delivered, done.Pending = state.Restored, state.Replayed, state.Pending()
		for _, n := range state.Rejected {
			done.Rejected += n
		}
		for _, n := range state.Dropped {
			done.Dropped += n
		}
	}()
	progress, at := uint64(0), time.Now()
	for {
		state := spooler.State()
		if state.DiskError != "" {
			return done, errors.New(state.DiskError)
		}
		pending := state.Pending()
		if pending == 0 {
			return done, nil
		}
		if settled := state.Restored - pending; settled != progress {
			progress, at = settled, time.Now()
		}
		if time.Since(at) > replayPatience {
			return done, fmt.Errorf("it takes nothing: %s", orUnknown(state.ReplayError))
		}
		select {
		case <-ctx.Done():
			return done, ctx.Err()
		case <-time.After(replayLook):
		}
	}
}
