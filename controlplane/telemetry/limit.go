package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// limitInterval and limitBurst are how many lines of one message may come in which time.
	limitInterval = 10 * time.Second
	limitBurst    = 20
	// limitMessages bounds what is remembered. Messages are constants, so that there are never as many.
	limitMessages = 1000
)

// limiter is a slog.Handler that lets at most limitBurst lines of one message through in limitInterval, and
// says afterwards how many it kept back. What differs in attributes alone is the same message.
type limiter struct {
	next  slog.Handler
	state *limits // shared by all that were derived
}

type limits struct {
	mutex sync.Mutex
	seen  map[string]*limit
	root  slog.Handler // for the lines about what was kept back
}

type limit struct{ lines, suppressed int }

// LimitLog wraps a log's handler, so that no message can flood the log.
func LimitLog(next slog.Handler) slog.Handler {
	return &limiter{next: next, state: &limits{seen: map[string]*limit{}, root: next}}
}

// Enabled is slog.Handler's.
func (l *limiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs is slog.Handler's.
func (l *limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limiter{next: l.next.WithAttrs(attrs), state: l.state}
}

// WithGroup is slog.Handler's.
func (l *limiter) WithGroup(name string) slog.Handler {
	return &limiter{next: l.next.WithGroup(name), state: l.state}
}

// Handle is slog.Handler's.
func (l *limiter) Handle(ctx context.Context, r slog.Record) error {
	if l.state.refuse(r.Level, r.Message) {
		return nil
	}
	return l.next.Handle(ctx, r)
}

// refuse counts a line, and tells whether it is one too many.
func (s *limits) refuse(level slog.Level, message string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	one := s.seen[message]
	if one == nil {
		if len(s.seen) >= limitMessages {
			return false
		}
		one = &limit{}
		s.seen[message] = one
		time.AfterFunc(limitInterval, func() { s.end(level, message) })
	}
	if one.lines++; one.lines <= limitBurst {
		return false
	}
	one.suppressed++
	return true
}

// end closes the interval of one message.
func (s *limits) end(level slog.Level, message string) {
	s.mutex.Lock()
	suppressed := s.seen[message].suppressed
	delete(s.seen, message)
	s.mutex.Unlock()
	if suppressed == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), level, "log lines suppressed", 0)
	r.AddAttrs(slog.String("message", message), slog.Int("suppressed", suppressed),
		slog.Duration("in", limitInterval))
	// A log that cannot be written has no other place to say so.
	_ = s.root.Handle(context.Background(), r)
}
