package notify

import (
	"context"
	"log/slog"
)

// influxBatchMax bounds the points of one POST: some 300 KiB.
const influxBatchMax = 1000

// influx writes each change as a point.
type influx struct{ poster }

func newInflux(c Config, url string, log *slog.Logger) (*influx, error) {
	p, err := newPoster(c, url, "text/plain; charset=utf-8", log)
	return &influx{p}, err
}

func (i *influx) batchMax() int             { return influxBatchMax }
func (i *influx) together(_, _ *Alert) bool { return true }

func (i *influx) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	var body []byte
	for _, c := range batch {
		body = c.wire().AppendLine(body, true)
	}
	return i.post(ctx, body, wired)
}
