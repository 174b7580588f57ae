// Package api is the gateway's HTTP interface: metrics, health, status and profiles, to be read only, and the
// reload, which is to be posted.
// /health/stream keeps its connections open; /debug/flight records from its first question on.
//
// It holds nothing of its own. Each request asks for a snapshot and shows it; no two snapshots are taken at
// once, so that a flood of requests cannot take the workers' time.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"culvert/controlplane/telemetry"
)

const (
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	// writeTime leaves room for a CPU profile of a minute.
	writeTime = 2 * time.Minute
	idleTime  = time.Minute
	// headerBytesMax is far more than any client of this interface sends.
	headerBytesMax = 16 << 10
)

// Config says where to listen and what to show.
type Config struct {
	Listen string // host:port
	// Snapshot is called for each request that shows the gateway, never twice at once.
	Snapshot func() *telemetry.Snapshot
	// Live (optional) says why the gateway is stuck; nil while it is not. It may be called at any time.
	Live func() error
	// Alerts (optional) are at most n alerts that fire, Rejects (optional) at most n of the last rejects, the
	// newest first. They may be called at any time.
	Alerts  func(n int) []telemetry.Alert
	Rejects func(n int) []telemetry.Reject
	// Reload (optional) reads the configuration anew; without it there is nothing that changes anything.
	Reload func() (*telemetry.Reload, error)
	// Token is what changes take; empty, they come from this host alone.
	Token string
	// Tap (optional) sends points as they pass until the context ends or send fails; nil says that it taps.
	Tap func(ctx context.Context, match string, send func(*telemetry.TappedPoint) error) error
	// Probes (optional) is read at each scrape.
	Probes telemetry.ProbeSource
	// Tenants is how many there are; where there are several, metrics of points have their names.
	Tenants int
	// Registry (optional) has metrics beside the gateway's; the server adds its own to it.
	Registry *prometheus.Registry
	Log      *slog.Logger

	page fs.FS // (optional) the dashboard's files, where a test has its own
}

// Server has its port from New on and answers from Serve until Shutdown.
type Server struct {
	config   Config
	listener net.Listener
	server   *http.Server
	routes   map[string]http.Handler
	changes  map[string]http.Handler // to be posted

	events   stream
	recorder flight
	waits    contention

	mutex sync.Mutex // one snapshot at a time
}

// New takes the port. A port that is taken is an error that says so.
func New(config Config) (*Server, error) {
	s := &Server{config: config, events: stream{ending: make(chan struct{})}}
	metrics, err := s.metrics()
	if err != nil {
		return nil, err
	}
	s.routes = map[string]http.Handler{
		"/metrics":             metrics,
		"/health/live":         http.HandlerFunc(s.live),
		"/health/ready":        http.HandlerFunc(s.ready),
		"/health/stream":       http.HandlerFunc(s.stream),
		"/api/v1/status":       http.HandlerFunc(s.status),
		"/api/v1/rules":        http.HandlerFunc(s.rules),
		"/api/v1/alerts":       http.HandlerFunc(s.alerts),
		"/api/v1/rejects":      http.HandlerFunc(s.rejects),
		"/api/v1/tap":          http.HandlerFunc(s.tap),
		"/api/v1/stream":       http.HandlerFunc(s.pictures),
		"/debug/flight":        http.HandlerFunc(s.flight),
		"/debug/pprof/":        http.HandlerFunc(pprof.Index),
		"/debug/pprof/block":   s.waits.profile("block"),
		"/debug/pprof/mutex":   s.waits.profile("mutex"),
		"/debug/pprof/cmdline": http.HandlerFunc(pprof.Cmdline),
		"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
		"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
		"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
	}
	if config.Reload != nil {
		reload := s.change(s.reload)
		s.changes = map[string]http.Handler{"/api/v1/reload": reload, "/pipeline/reload": reload}
	}
	if err := s.addPage(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", config.Listen); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on http.listen %q: %w: another gateway runs, or another program "+
				"has the port", config.Listen, syscall.EADDRINUSE)
		}
		return nil, fmt.Errorf("listen on http.listen %q: %w", config.Listen, err)
	}
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.dispatch),
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerBytesMax,
	}
	s.server.RegisterOnShutdown(sync.OnceFunc(func() { close(s.events.ending) }))
	return s, nil
}

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Addr is where the server listens, with the port that was chosen where 0 was asked for.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Shutdown takes no more requests and waits for those that are under way until the context ends; then it cuts
// them off. The port is free afterwards, also where Serve never ran. It may be called twice.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil {
		// What is left is a profile, or a client that does not read.
		err = fmt.Errorf("finish HTTP requests: %w", errors.Join(err, s.server.Close()))
	}
	s.recorder.stop()
	s.listener.Close() // Closed already, unless Serve never ran.
	return err
}

// ledgers shows the gateway's counters, by tenant where there are several.
func (s *Server) ledgers() prometheus.Collector {
	c := telemetry.NewCollector(s.snapshot)
	if s.config.Tenants > 1 {
		return c.ByTenant()
	}
	return c
}

// metrics gathers the gateway's metrics, the process's and the Go runtime's.
func (s *Server) metrics() (http.Handler, error) {
	registry := s.config.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	if s.config.Probes != nil {
		if err := registry.Register(telemetry.NewProbeCollector(s.config.Probes, s.config.Log)); err != nil {
			return nil, fmt.Errorf("register the probes' metrics: %w", err)
		}
	}
	for _, c := range []prometheus.Collector{
		s.ledgers(),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.MetricsGC, collectors.MetricsScheduler, collectors.MetricsMemory)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return &compressed{plain: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn), DisableCompression: true,
	})}, nil
}

func (s *Server) snapshot() *telemetry.Snapshot {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.config.Snapshot()
}

// dispatch finds what a request asks for. What changes something takes POST, all else GET and HEAD.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if handler, found := s.changes[r.URL.Path]; found {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			s.fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes POST, not %s", r.URL.Path, r.Method))
			return
		}
		handler.ServeHTTP(w, r)
		return
	}
	handler, found := s.routes[r.URL.Path]
	if !found && strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
		handler, found = s.routes["/debug/pprof/"]
	}
	switch {
	case !found:
		s.fail(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %s", r.URL.Path))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes GET, not %s", r.URL.Path, r.Method))
	default:
		handler.ServeHTTP(w, r)
	}
}

// answer writes a JSON document.
func (s *Server) answer(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	// The only error there can be is a client that has gone, and nobody is left to be told.
	encoder.Encode(document)
}

func (s *Server) fail(w http.ResponseWriter, code int, message string) {
	s.answer(w, code, map[string]string{"error": message})
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	if s.config.Live != nil {
		if err := s.config.Live(); err != nil {
			reasons := []string{err.Error()}
			s.answer(w, http.StatusServiceUnavailable, map[string]any{"live": false, "reasons": reasons})
			return
		}
	}
	s.answer(w, http.StatusOK, map[string]any{"live": true, "reasons": []string{}})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	status := telemetry.NewStatus(s.snapshot())
	code := http.StatusOK
	if !status.Ready {
		code = http.StatusServiceUnavailable
	}
	s.answer(w, code, map[string]any{"ready": status.Ready, "reasons": status.Reasons})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, telemetry.NewStatus(s.snapshot()))
}

// listMax is how many alerts and rejects an answer lists.
const listMax = 1000

func (s *Server) rules(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, map[string]any{"rules": telemetry.NewStatus(s.snapshot()).Rules})
}

func (s *Server) alerts(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, map[string]any{"alerts": newest(s.config.Alerts, listMax)})
}

func (s *Server) rejects(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, map[string]any{"rejects": newest(s.config.Rejects, listMax)})
}

// newest is what a source lists, never nil, so that it is a list in JSON too.
func newest[T any](source func(n int) []T, n int) []T {
	if source == nil {
		return []T{}
	}
	return source(n)
}
