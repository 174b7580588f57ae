package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
)

const (
	// resolveInterval is how often a sink's name is resolved again; a failed look-up is tried sooner.
	resolveInterval = 30 * time.Second
	resolveRetry    = 2 * time.Second
	resolveTime     = 5 * time.Second
	// askTime bounds a question to a sink that is in doubt.
	askTime = 2 * time.Second
	// batchesPinned and batchesSlow bound what a worker holds for a sink that is slow or away, times
	// batch.bytes.
	batchesPinned, batchesSlow = 32, 8
)

// sinkTarget is the sink's URL and the address that its name has now. Workers only connect: looking names up
// is done here.
type sinkTarget struct {
	config  *config.Sink
	log     *slog.Logger
	writer  influx.Config
	name    string // host name to look up; empty for a literal address
	port    uint16
	current netip.AddrPort
	// moved (optional) is told of each new address before the workers are.
	moved func(netip.AddrPort)
}

// newSinkTarget reads the token and looks the name up once. A name that is not found now is not an error.
func newSinkTarget(ctx context.Context, sink *config.Sink, log *slog.Logger) (*sinkTarget, error) {
	t := &sinkTarget{config: sink, log: log}
	u, err := url.Parse(sink.URLs[0])
	if err != nil {
		return nil, fmt.Errorf("sink %q: read its URL: %w", sink.Name, err)
	}
	token, err := readToken(sink.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("sink %q: %w", sink.Name, err)
	}
	t.writer, err = influx.Target(influx.TargetConfig{
		URL: u, Database: sink.Database, Org: sink.Org, Bucket: sink.Bucket, Version: sink.Version,
		Token: token,
	})
	if err != nil {
		return nil, fmt.Errorf("sink %q: %w", sink.Name, err)
	}
	t.name, t.port = u.Hostname(), portOf(u)
	if err := t.resolve(ctx); err != nil {
		log.Warn("sink not found yet", "sink", sink.Name, "error", err)
	}
	return t, nil
}

func portOf(u *url.URL) uint16 {
	var port uint16 = 80
	if text := u.Port(); text != "" {
		// The configuration's check has let only numbers through.
		_, _ = fmt.Sscanf(text, "%d", &port)
	}
	return port
}

// resolve looks the name up and keeps the current address while it is among the answers.
func (t *sinkTarget) resolve(ctx context.Context) error {
	if address, err := netip.ParseAddr(t.name); err == nil {
		t.current = netip.AddrPortFrom(address, t.port)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.name)
	if err != nil {
		return fmt.Errorf("look up %q: %w", t.name, err)
	}
	for _, address := range addresses {
		if netip.AddrPortFrom(address.Unmap(), t.port) == t.current {
			return nil
		}
	}
	t.current = netip.AddrPortFrom(addresses[0].Unmap(), t.port)
	return nil
}

// follow keeps the workers' target up to date with the name until the context ends.
func (t *sinkTarget) follow(ctx context.Context, workers []*dataplane.Worker) {
	if _, err := netip.ParseAddr(t.name); err == nil {
		return
	}
	for {
		wait := resolveInterval
		if !t.current.IsValid() {
			wait = resolveRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		before := t.current
		if err := t.resolve(ctx); err != nil {
			t.log.Warn("sink's name not found", "sink", t.config.Name, "error", err)
			continue
		}
		if t.current == before {
			continue
		}
		t.log.Info("sink has another address", "sink", t.config.Name, "address", t.current)
		if t.moved != nil {
			t.moved(t.current)
		}
		for _, w := range workers {
			if err := w.Retarget(t.current); err != nil {
				t.log.Error("retarget", "error", err)
			}
		}
	}
}

// ask makes a write without a point. Its answer shows whether points would be taken: a server that stands
// still has connections like any other.
func (t *sinkTarget) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	address := "http://" + t.writer.Host + t.writer.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("#\n"))
	if err != nil {
		return fmt.Errorf("ask sink %q: %w", t.config.Name, err)
	}
	request.Header.Set("User-Agent", "culvert")
	if t.writer.Authorization != "" {
		request.Header.Set("Authorization", t.writer.Authorization)
	}
	// No proxy, no redirect and no connection that is kept: as the writer does it, but once.
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask sink %q: %w", t.config.Name, err)
	}
	response.Body.Close()
	// InfluxDB 2.x calls a write without points a bad request, once it has found bucket and token good.
	if code := response.StatusCode; code >= 300 && code != http.StatusBadRequest {
		return fmt.Errorf("ask sink %q: it answers %s", t.config.Name, response.Status)
	}
	return nil
}

// worker is the sink as one worker sees it.
func (t *sinkTarget) worker(index int, slow bool, seed uint64) dataplane.SinkConfig {
	c := t.config
	w := t.writer
	w.Address, w.Connections, w.Timeout = t.current, c.Connections, c.Timeout
	w.Retry = influx.Retry{
		Attempts: c.Retry.Attempts, First: c.Retry.First, Max: c.Retry.Max, Jitter: float64(c.Retry.Jitter),
	}
	w.Seed = seed + uint64(index)
	s := dataplane.SinkConfig{
		Writer: w, Uint: uintPolicy(c.Uint), Batches: batchesPinned, BatchBytes: int(c.Batch.Bytes),
		BatchPoints: c.Batch.Points, Linger: int64(c.Batch.Linger), Age: int64(c.Batch.Age),
	}
	if slow {
		s.Batches = batchesSlow
	}
	return s
}

func uintPolicy(name string) lineproto.UintPolicy {
	switch name {
	case "int":
		return lineproto.UintInt
	case "float":
		return lineproto.UintFloat
	}
	return lineproto.UintKeep
}
