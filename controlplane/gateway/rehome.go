package gateway

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"culvert/dataplane"
	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// rehomeRecords is how many records move at once: they are durable in their new spools before they leave the
// old one, so that a crash in between repeats these, and loses none.
const rehomeRecords = 64

// rehome moves what waits on disk for URLs that a sink no longer has to those that it has, each series to the
// one that owns it now, where its on_remove says so. Nobody holds the spools yet. used are the folders of the
// URLs that there are; what is left empty joins them, since nothing waits there.
func (g *Gateway) rehome(used map[string]bool) {
	folders, err := spool.Directories(g.spools.dir)
	if err != nil {
		return // tellLeftSpools says so.
	}
	for _, folder := range folders {
		if used[folder] {
			continue
		}
		label, waiting, err := lookInto(folder)
		if err != nil {
			g.log.Warn("a spool of another URL is unknown", "folder", folder, "error", err)
			continue
		}
		if waiting == 0 {
			used[folder] = true
			continue
		}
		i := slices.IndexFunc(g.sinks, func(s *sink) bool { return s.config.Name == label.Sink })
		if i < 0 || !g.sinks[i].rehashes() {
			continue
		}
		moved, err := g.rehash(g.sinks[i], folder)
		about := []any{"sink", label.Sink, "url", label.URL, "points", moved}
		if err != nil {
			g.log.Error("what waited for a URL that is gone could not all be given to the others; the rest "+
				"stays where it is", append(about, "of", waiting, "error", err)...)
			continue
		}
		g.log.Info("what waited for a URL that is gone is now the others'", about...)
		used[folder] = true
	}
}

// rehashes tells whether what waits for a URL that is gone belongs to others.
func (s *sink) rehashes() bool {
	return s.leavingBy(s.config.OnRemove) == rehashes
}

// lookInto says whose a spool is and how many points wait in it.
func lookInto(folder string) (label spool.Label, waiting int, err error) {
	files, err := spool.OpenExisting(folder)
	if err != nil {
		return label, 0, err
	}
	surveys, err := spool.Inspect(files, nil)
	for i := range surveys {
		if surveys[i].WaitingPoints > 0 {
			label = surveys[i].Label
			waiting += surveys[i].WaitingPoints
		}
	}
	return label, waiting, errors.Join(err, files.Close())
}

// mover shares records out among the spools of a sink's URLs.
type mover struct {
	sink     *sink
	to       []*spool.Log
	splitter dataplane.Splitter
}

// rehash empties a folder into the spools of a sink's URLs, and returns how many points moved.
func (g *Gateway) rehash(s *sink, folder string) (moved int, err error) {
	m := &mover{sink: s}
	var logs []*spool.Log
	defer func() {
		for _, log := range logs {
			err = errors.Join(err, log.Close())
		}
	}()
	open := func(t *sinkTarget, folder string, change func(*spool.Config)) (*spool.Log, error) {
		c, err := g.spoolConfig(s, t)
		if err != nil {
			return nil, err
		}
		if c.Files, err = spool.OpenDirectory(folder); err != nil {
			return nil, err
		}
		change(&c)
		log, _, err := spool.Open(c)
		if err == nil {
			logs = append(logs, log)
		}
		return log, err
	}
	for _, t := range s.targets {
		// Nothing of theirs gives way: what has no room stays where it is.
		log, err := open(t, t.spoolFolder(g.spools.dir),
			func(c *spool.Config) { c.WhenFull = spool.DropNewest })
		if err != nil {
			return 0, err
		}
		m.to = append(m.to, log)
	}
	from, err := open(s.targets[0], folder, func(c *spool.Config) { c.MaxBytes = math.MaxInt64 / 2 })
	if err != nil {
		return 0, err
	}
	for {
		n, more, err := m.some(from)
		if moved += n; err != nil || !more {
			return moved, err
		}
	}
}

// some moves the records that come next, and reports whether there may be more. A record of which one spool
// has no room for its part stays, and comes again as a whole.
func (m *mover) some(from *spool.Log) (moved int, more bool, err error) {
	var taken []uint64
	var stop error
	for more = true; more && stop == nil && len(taken) < rehomeRecords; {
		var r spool.Record
		if r, more, stop = from.Next(nil); more && stop == nil {
			if stop = m.append(&r); stop == nil {
				taken = append(taken, r.Sequence)
				moved += r.Points
			}
		}
	}
	for _, log := range m.to {
		if err := log.Sync(); err != nil {
			return 0, false, fmt.Errorf("sync spool: %w", err)
		}
	}
	for _, sequence := range taken {
		from.Ack(sequence)
	}
	if err := from.Sync(); err != nil {
		stop = errors.Join(stop, fmt.Errorf("sync the spool of the URL that is gone: %w", err))
	}
	return moved, more, stop
}

// append gives a record's lines to their spools.
func (m *mover) append(r *spool.Record) error {
	var table *shard.Table
	if routingOf(m.sink.config.Routing) == dataplane.RoutingHash {
		table = m.sink.table.Load()
	}
	m.splitter.Split(r.Body, len(m.to), table)
	for i, points := range m.splitter.Points {
		if points == 0 {
			continue
		}
		part := spool.Record{Worker: r.Worker, Shard: r.Shard, Batch: r.Batch, Tenant: r.Tenant,
			Points: points, Oldest: r.Oldest, Body: m.splitter.Bodies[i]}
		if _, err := m.to[i].Append(&part, false); err != nil {
			return err
		}
	}
	return nil
}
