package notify

import (
	"context"
	"log/slog"
)

// logger writes a line for each change.
type logger struct{ log *slog.Logger }

func (l *logger) batchMax() int             { return 1 }
func (l *logger) together(_, _ *Alert) bool { return false }
func (l *logger) close()                    {}

func (l *logger) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	a := batch[0].Alert
	level := slog.LevelInfo
	if a.Firing {
		level = slog.LevelWarn
	}
	l.log.LogAttrs(ctx, level, "alert "+a.state(), slog.String("rule", a.Rule), group("labels", a.Labels),
		group("annotations", a.Annotations), slog.Time("time", a.Time),
		slog.Time("since", a.Since), slog.String("reason", a.Reason),
		slog.String("fingerprint", a.Fingerprint))
	wired(monotonic())
	return nil
}

// group is a map as attributes, in the order of their names.
func group(name string, values map[string]string) slog.Attr {
	var attributes []slog.Attr
	for _, key := range sortedKeys(values) {
		attributes = append(attributes, slog.String(key, values[key]))
	}
	return slog.Attr{Key: name, Value: slog.GroupValue(attributes...)}
}
