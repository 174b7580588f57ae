package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
	"culvert/dataplane/spsc"
)

const (
	// spoolMemory and spoolMemoryTTL bound what is kept in memory for one URL while the disk fails.
	spoolMemory    = 64 << 20
	spoolMemoryTTL = 10 * time.Minute
	// spoolWatch is how often the log is told of troubles with the disk.
	spoolWatch = 10 * time.Second
)

// spools are the spoolers, one for each URL, and the workers' ways to them. All are empty where no spool is
// kept.
type spools struct {
	dir      string
	spoolers []*dataplane.Spooler     // by lane
	ports    [][]*dataplane.SpoolPort // by worker and lane
	share    int64                    // of spool.max that each URL has, in bytes
	draining []*draining              // URLs that are gone, with what still waits for them
}

// spoolStates are all spoolers' states, by lane, and what of spool.max each has, in bytes.
func (g *Gateway) spoolStates() (states []dataplane.SpoolerState, share int64) {
	spoolers, share := g.spoolers()
	for _, spooler := range spoolers {
		states = append(states, spooler.State())
	}
	return states, share
}

// openSpools finds the folder, opens a spool for each URL and starts its spooler. The workers are not there
// yet.
func (g *Gateway) openSpools(workers int) error {
	if err := g.findSpool(); err != nil || g.spools.dir == "" {
		return err
	}
	g.spools.share = g.spoolShare()
	g.spools.ports = make([][]*dataplane.SpoolPort, workers)
	used := map[string]bool{}
	for _, t := range g.targets {
		used[t.spoolFolder(g.spools.dir)] = true
	}
	g.rehome(used)
	for _, s := range g.sinks {
		for _, t := range s.targets {
			var ports []*dataplane.SpoolPort
			for worker := range workers {
				batches, _ := s.batches(worker == g.slowWorker())
				port := dataplane.NewSpoolPort(g.exchange, worker, batches)
				g.spools.ports[worker] = append(g.spools.ports[worker], port)
				ports = append(ports, port)
			}
			spooler, err := g.openSpooler(s, t, ports)
			if err != nil {
				return fmt.Errorf("sink %q: %s: %w", s.config.Name, t.shownURL(), err)
			}
			g.spools.spoolers = append(g.spools.spoolers, spooler)
			if state := spooler.State(); state.DiskError != "" {
				g.log.Error("spool cannot be opened; what cannot be delivered is kept in memory", "sink",
					s.config.Name, "url", t.shownURL(), "error", state.DiskError)
			} else if found := state.Recovery; found != (spool.Recovery{}) {
				g.log.Info("spool goes on", "sink", s.config.Name, "url", t.shownURL(),
					"points", found.Points, "records", found.Records, "torn", found.Cut,
					"corrupt", found.Corrupt, "foreign", found.Foreign)
			}
		}
	}
	if folders, err := spool.Directories(g.spools.dir); err == nil {
		g.openDrains(folders, used)
	}
	g.tellLeftSpools(used)
	return nil
}

// findSpool finds the folder, or makes it. That of the default is the package's to begin: where even the
// folder around it is missing nothing is kept, which is said.
func (g *Gateway) findSpool() error {
	dir := g.options.Config.Spool.Dir
	if dir == "" {
		return nil
	}
	err := os.Mkdir(dir, 0o750)
	switch {
	case err == nil || errors.Is(err, fs.ErrExist):
		g.spools.dir = dir
		return nil
	case errors.Is(err, fs.ErrNotExist) && dir == config.Default().Spool.Dir:
		g.log.Warn("no spool: what a sink does not take in time is dropped; there is no folder for "+
			"spool.dir", "folder", filepath.Dir(dir))
		return nil
	}
	return fmt.Errorf("make spool.dir: %w", err)
}

// spoolShare is what the files of one URL may take, in bytes, and spoolShareOf what it would be of so many.
func (g *Gateway) spoolShare() int64 { return g.spoolShareOf(len(g.targets)) }

func (g *Gateway) spoolShareOf(urls int) int64 {
	return int64(g.options.Config.Spool.Max) / int64(urls)
}

// spoolConfig is how the spool of one URL is kept; who opens it adds the files.
func (g *Gateway) spoolConfig(s *sink, t *sinkTarget) (spool.Config, error) {
	c := &g.options.Config.Spool
	codec, err := spool.ParseCodec(c.Compression)
	if err != nil {
		return spool.Config{}, err
	}
	open := spool.Config{
		Label: spool.Label{
			Gateway: g.options.Config.Gateway.ID, Sink: s.config.Name, URL: t.shownURL(),
			Epoch: uint64(g.started.UnixNano()),
		},
		SegmentBytes: int64(c.Segment), MaxBytes: g.spoolShare(), Codec: codec,
		Tenants: tenantNames(g.options.Config),
	}
	if c.WhenFull == "drop_newest" {
		open.WhenFull = spool.DropNewest
	}
	return open, nil
}

// openSpooler starts the spooler of one URL. One without ports takes nothing in: what it has may stay as long
// as it is.
func (g *Gateway) openSpooler(s *sink, t *sinkTarget,
	ports []*dataplane.SpoolPort) (*dataplane.Spooler, error) {
	open, err := g.spoolConfig(s, t)
	if err != nil {
		return nil, err
	}
	folder, traced := t.spoolFolder(g.spools.dir), (*dataplane.TraceRing)(nil)
	if ports == nil {
		open.MaxBytes = math.MaxInt64 / 2
	} else {
		traced = g.traceSpool()
	}
	writer := s.writer(t)
	writer.Ordered = false // The spooler keeps the order by itself.
	writer.Seed = open.Label.Epoch + uint64(t.lane)
	refusals := spsc.New[dataplane.Refusal](dataplane.RefusalSlots)
	g.growing.Lock()
	g.refusals = append(g.refusals, refusals)
	g.growing.Unlock()
	return dataplane.StartSpooler(dataplane.SpoolerConfig{
		Refusals: refusals, Lane: t.lane, Traces: traced, TraceSeed: writer.Seed,
		Open: func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			one := open
			one.Files = files
			return spool.Open(one)
		},
		Writer: writer, BatchBytes: int(s.config.Batch.Bytes), Sync: g.options.Config.Spool.Sync,
		MemoryBytes: spoolMemory, MemoryTTL: spoolMemoryTTL, Ports: ports,
		Ordered: s.config.Order == orderSeries, TTL: s.config.TTL, Tenants: open.Tenants,
	})
}

// tellLeftSpools says what waits for URLs that the configuration does not name any more.
func (g *Gateway) tellLeftSpools(used map[string]bool) {
	folders, err := spool.Directories(g.spools.dir)
	if err != nil {
		g.log.Warn("spools of other URLs are unknown", "error", err)
	}
	for _, folder := range folders {
		if !used[folder] {
			g.log.Warn("a spool waits for a URL that the configuration does not name; "+
				"`culvert spool ls` shows it, its room is not counted", "folder", folder)
		}
	}
}

// closeSpools ends the spoolers. The workers have ended.
func (g *Gateway) closeSpools() error {
	var errs []error
	for _, d := range g.spools.draining {
		errs = append(errs, d.spooler.Close())
	}
	for _, s := range slices.Backward(g.spools.spoolers) {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// logSpools tells of troubles with the disk and of their end.
func (g *Gateway) logSpools(ctx context.Context) {
	var told []string
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(spoolWatch):
		}
		spoolers, _ := g.spoolers()
		targets := g.urls()
		for lane, s := range spoolers {
			if lane == len(told) {
				told = append(told, "")
			}
			state := s.State()
			if state.DiskError == told[lane] {
				continue
			}
			told[lane] = state.DiskError
			about := []any{"sink", targets[lane].config.Name, "url", targets[lane].shownURL()}
			if state.DiskError == "" {
				g.log.Info("spool writes to disk again", about...)
			} else {
				g.log.Error("spool does not get to disk; what cannot be delivered is kept in memory",
					append(about, "error", state.DiskError, "memory_points", state.MemoryPoints)...)
			}
		}
	}
}

// shownURL is the URL without user and password, as files and logs may hold it.
func (t *sinkTarget) shownURL() string {
	u, err := url.Parse(t.url)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// spoolFolder is the folder of the URL's spool.
func (t *sinkTarget) spoolFolder(dir string) string {
	return filepath.Join(dir, spool.DirectoryName(t.config.Name, t.shownURL()))
}

// writer is how one URL is written to; who uses it adds a seed.
func (s *sink) writer(t *sinkTarget) influx.Config {
	c := s.config
	w := t.writer
	w.Address, w.Connections, w.Timeout = t.current, c.Connections, c.Timeout
	w.Retry = influx.Retry{
		Attempts: c.Retry.Attempts, First: c.Retry.First, Max: c.Retry.Max, Jitter: float64(c.Retry.Jitter),
	}
	if c.Order == orderSeries {
		w.Ordered, w.Connections = true, 1
	}
	return w
}

// batches is how many batches a worker has for one URL, and how many bytes each. Where many tenants share
// them, there are more and smaller ones of the same memory, so that each tenant can have some.
func (s *sink) batches(slow bool) (n, bytes int) {
	n, bytes = s.batchesWhole(slow), int(s.config.Batch.Bytes)
	if need := batchesPerTenant * s.tenants; need > n {
		bytes = min(bytes, max(n*bytes/need, batchBytesMin))
		n = need
	}
	return n, bytes
}

func (s *sink) batchesWhole(slow bool) int {
	switch {
	case slow:
		return batchesSlow
	case routingOf(s.config.Routing) == dataplane.RoutingHash:
		// By the URLs at the start: one that comes later has as many as these, in each worker and on its way
		// to the spooler.
		return max(batchesPinned/len(s.config.URLs), batchesSlow)
	}
	return batchesPinned
}
