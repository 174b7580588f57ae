package gateway

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// Goal: the first loss of each kind is said at once, what follows with its sum and not too often, and silence
// means that nothing was lost. Method: counters as they grow, over a time of the test's own.
func TestLossesAreSaid(t *testing.T) {
	var text bytes.Buffer
	l := &lossLog{log: slog.New(slog.NewTextHandler(&text, nil)), said: map[string]saidLoss{}}
	now := time.Unix(1_000_000, 0)
	var c dataplane.Counters
	listeners := []telemetry.Listener{{Name: "plant"}}
	interfaces := []telemetry.Interface{{Name: "eth1", Queues: []telemetry.Queue{{Queue: 3,
		Drops: map[string]uint64{"ring_full": 0, "no_room": 0}}}}}
	f := func(later time.Duration, want ...string) {
		t.Helper()
		now = now.Add(later)
		text.Reset()
		l.note(lossesOf(&c, listeners, interfaces), now)
		if got := strings.Count(text.String(), "\n"); got != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", got, len(want), &text)
		}
		for _, part := range want {
			if !strings.Contains(text.String(), part) {
				t.Fatalf("no %s in\n%s", part, &text)
			}
		}
	}
	f(0)
	c.PointsDropped[dataplane.DropUndelivered] = 5
	f(time.Second, `level=WARN msg="points dropped" reason=undelivered count=5 total=5 remedy=`)
	f(time.Second)
	c.PointsDropped[dataplane.DropUndelivered] = 25
	c.PointsDropped[dataplane.DropOverload] = 1
	f(time.Second, "reason=overload count=1 total=1")
	f(lossInterval-2*time.Second, "reason=undelivered count=20 total=25")
	listeners[0].KernelDrops = 7
	interfaces[0].Queues[0].Drops["ring_full"] = 2
	interfaces[0].Queues[0].Drops["no_room"] = 1
	f(time.Minute, "listener=plant count=7 total=7", "queue=eth1:3 count=3 total=3")
	c.PointsSinkRejected[dataplane.SinkUintRange] = 4
	f(time.Second, `msg="points rejected" reason=uint_range count=4 total=4`)
	f(time.Hour)
}
