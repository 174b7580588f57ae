package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/influx"
)

const (
	// resolveInterval is how often a sink's name is resolved again; a failed look-up is tried sooner.
	resolveInterval = 30 * time.Second
	resolveRetry    = 2 * time.Second
	resolveTime     = 5 * time.Second
	// askTime bounds a question to a sink that is in doubt.
	askTime = 2 * time.Second
	// askWords is how much of a server's answer to it is read, in bytes.
	askWords = 4096
)

// sinkTarget is one URL of a sink and the address that its name has now. Workers only connect: looking names
// up is done here.
type sinkTarget struct {
	config  *config.Sink
	url     string
	parsed  *url.URL
	tls     *tls.Config // nil: what the system trusts, and no certificate of our own
	proxy   *url.URL    // nil: reached directly. The proxy looks the name up.
	lane    int         // its place among all URLs of all sinks
	log     *slog.Logger
	writer  influx.Config
	name    string // host name to look up; empty for a literal address
	port    uint16
	current netip.AddrPort
	// moved (optional) is told of each new address before the workers are.
	moved func(netip.AddrPort)
	// mutex guards changed, the Authorization that took the place of the writer's; empty while none did.
	mutex   sync.Mutex
	changed string
	// asked is when the server, asked in doubt, was in order; CLOCK_MONOTONIC nanoseconds.
	asked atomic.Int64
}

// newSinkTarget looks the name up once. A name that is not found now is not an error.
func newSinkTarget(ctx context.Context, sink *config.Sink, address, token string, lane int,
	log *slog.Logger) (*sinkTarget, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("sink %q: read its URL: %w", sink.Name, err)
	}
	t := &sinkTarget{config: sink, url: address, parsed: u, lane: lane, log: log}
	t.writer, err = influx.Target(influx.TargetConfig{
		URL: u, Database: sink.Database, Org: sink.Org, Bucket: sink.Bucket, Version: sink.Version,
		Token: token,
	})
	if err != nil {
		return nil, fmt.Errorf("sink %q: %w", sink.Name, err)
	}
	if t.writer.Remote == nil && sink.Gzip {
		t.writer.Remote = &influx.RemoteConfig{URL: "http://" + t.writer.Host + t.writer.Path}
	}
	if t.writer.Remote != nil {
		if t.tls, err = tlsOf(&sink.TLS); err != nil {
			return nil, fmt.Errorf("sink %q: %w", sink.Name, err)
		}
		t.writer.Remote.TLS, t.writer.Remote.Gzip = t.tls, sink.Gzip
	}
	if err := t.findProxy(http.ProxyFromEnvironment); err != nil {
		return nil, fmt.Errorf("sink %q: %w", sink.Name, err)
	}
	if t.proxy != nil {
		return t, nil
	}
	t.name, t.port = u.Hostname(), portOf(u)
	if err := t.resolve(ctx); err != nil {
		log.Warn("sink not found yet", "sink", sink.Name, "url", address, "error", err)
	}
	return t, nil
}

// aboutContent tells whether a server complains of a write that holds no point, and of nothing else.
func aboutContent(words string) bool {
	for _, word := range []string{"point", "line", "parse", "empty", "no data"} {
		if strings.Contains(strings.ToLower(words), word) {
			return true
		}
	}
	return false
}

// authorization is the header's value in use.
func (t *sinkTarget) authorization() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.changed != "" {
		return t.changed
	}
	return t.writer.Authorization
}

func (t *sinkTarget) setAuthorization(value string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.changed = value
}

func portOf(u *url.URL) uint16 {
	var port uint16 = 80
	if u.Scheme == "https" {
		port = 443
	}
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

// follow keeps the target of the workers, and of the spooler if there is one, up to date with the name until
// the context ends.
func (t *sinkTarget) follow(ctx context.Context, workers []*dataplane.Worker, spooler *dataplane.Spooler) {
	if _, err := netip.ParseAddr(t.name); err == nil || t.proxy != nil {
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
			t.log.Warn("sink's name not found", "sink", t.config.Name, "url", t.url, "error", err)
			continue
		}
		if t.current == before {
			continue
		}
		t.log.Info("sink has another address", "sink", t.config.Name, "url", t.url, "address",
			t.current)
		if t.moved != nil {
			t.moved(t.current)
		}
		if spooler != nil {
			spooler.Retarget(t.current)
		}
		for _, w := range workers {
			if err := w.Retarget(t.lane, t.current); err != nil {
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
	address := t.parsed.Scheme + "://" + t.writer.Host + t.writer.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("#\n"))
	if err != nil {
		return fmt.Errorf("ask sink %q: %w", t.config.Name, err)
	}
	request.Header.Set("User-Agent", "culvert")
	if value := t.authorization(); value != "" {
		request.Header.Set("Authorization", value)
	}
	// The same proxy, no redirect and no connection that is kept: as the writer does it, but once.
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: t.tls, Proxy: http.ProxyURL(t.proxy),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask sink %q: %w", t.config.Name, err)
	}
	words, _ := io.ReadAll(io.LimitReader(response.Body, askWords))
	response.Body.Close()
	// InfluxDB 2.x calls a write without points a bad request, once it has found bucket and token good.
	if code := response.StatusCode; code == http.StatusBadRequest && aboutContent(string(words)) {
		return nil
	} else if code >= 300 {
		return fmt.Errorf("ask sink %q: it answers %s", t.config.Name, response.Status)
	}
	return nil
}
