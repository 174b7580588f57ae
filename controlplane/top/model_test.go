package top

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"culvert/controlplane/telemetry"
)

// moment is a gateway's state so many seconds after its start, at 100 000 points a second.
func moment(seconds int) *telemetry.Picture {
	n := uint64(seconds) * 100_000
	begun := time.Unix(1_700_000_000, 0)
	return &telemetry.Picture{
		Health: &telemetry.HealthEvent{State: telemetry.Degraded,
			Reasons: []string{"points dropped, overload: 7"},
			P50:     map[string]float64{"end_to_end": 0.0012}, P99: map[string]float64{"end_to_end": 0.0034}},
		Status: &telemetry.Status{Gateway: "plant-7", Version: "v1", UptimeSeconds: float64(seconds),
			Taken:  begun.Add(time.Duration(seconds) * time.Second),
			Ledger: telemetry.Ledger{Received: n, Written: n - 7, Dropped: map[string]uint64{"overload": 7}},
			Latency: map[string]telemetry.Latency{
				"end_to_end": {Count: n, Mean: 0.001, P999: 0.005, Max: 0.009}},
			Workers: []telemetry.WorkerStatus{{Name: "0", CPU: 2, PointsReceived: n, PointsWritten: n,
				Transport: "io_uring"}, {Name: "kernel", CPU: -1, Node: -1}},
			Interfaces: []telemetry.InterfaceStatus{{Name: "eth1", Mode: "zerocopy",
				Verdicts: map[string]uint64{"tenant_limit": 13, "not_ours": 14},
				Queues: []telemetry.QueueStatus{{Queue: 3, Received: n / 10, Worker: "0",
					Drops: map[string]uint64{"ring_full": 5}}, {Queue: 3, Socket: 1, Received: n / 100}}}},
			Sinks: []telemetry.SinkStatus{{Name: "main", URL: "http://db:8086", LastError: "refused",
				Breaker: "half_open", Spool: &telemetry.SpoolStatus{Pending: 1234, Bytes: 56_789,
					OldestSeconds: 12, DiskError: "no space"},
				Points: telemetry.SinkPoints{Written: 77, InFlight: 8,
					Rejected: map[string]uint64{"refused": 9}, Dropped: map[string]uint64{"ttl": 10}}}},
			Tenants: []telemetry.TenantStatus{{Name: "line-a", PacketsLimited: 13, Series: 49,
				SeriesLimit: 50, Ledger: telemetry.Ledger{Received: 21, Written: 20,
					Dropped: map[string]uint64{"ttl": 1}}}},
			Rules: []telemetry.RuleStatus{{Name: "Hot", Firing: 9, Steps: 4}},
		},
		Alerts: []telemetry.Alert{{Rule: "Hot", Since: begun, Labels: map[string]string{"alertname": "Hot",
			"machine": "m1\x1b]0;owned\a"}}},
		Rejects: []telemetry.Reject{{Taken: begun, Stage: "decode", Reason: "bad_number",
			Source: "10.0.0.1:9", Text: "m v=1x\x1b[2J"}},
	}
}

func newModel(width, height int) *Model {
	m := New("http://gw:9490")
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m
}

// bare is the page without colours.
func bare(m *Model) string { return ansi.Strip(m.Page()) }

// Goal: everything there is to see is on the page, rates come from two moments, and nothing from the network
// steers the terminal.
func TestPageShowsTheGateway(t *testing.T) {
	m := newModel(100, 80)
	if got := bare(m); !strings.HasPrefix(got, "connecting to http://gw:9490") {
		t.Errorf("before anything came: %.100q", got)
	}
	m.Update(PictureMsg{moment(10)})
	m.Update(PictureMsg{moment(11)})
	page := bare(m)
	for _, want := range []string{
		"plant-7 degraded", "up 11s", "points dropped, overload: 7", "received           100 000  █",
		"3.4 ms", "1.2 ms", "received                       1 100 000",
		"dropped overload                       7",
		"balanced", "ALERTS FIRING: 9", "machine=m1·]0;owned·", "and 1 more", "0        100 000", "kernel",
		"eth1 3       10 000     5", "eth1 3.1      1 000     0",
		"by XDP tenant_limit                   13",
		"main DOWN, breaker half open  http://db:8086", "refused", "Hot        9",
		"written: 77, in flight: 8, refused: 9, lost: 10", "in the spool: 1 234, the oldest for 12 s",
		"the spool is not on disk: no space",
		"line-a      21       20      0         0     1          13   49/50",
		"decode/bad_number  10.0.0.1:9  m v=1x·[2J",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	if strings.ContainsAny(page, "\a\x1b") {
		t.Error("control characters came through")
	}
}

// Goal: whatever the terminal's size, no line is longer than it is wide, and there are no more than it has.
func TestPageFitsAnyTerminal(t *testing.T) {
	for width := 1; width < 130; width += 3 {
		for _, height := range []int{1, 2, 5, 24, 100} {
			m := newModel(width, height)
			m.Update(PictureMsg{moment(1)})
			m.Update(PictureMsg{moment(2)})
			m.Update(LostMsg{errors.New("gone")})
			for range 3 {
				lines := strings.Split(bare(m), "\n")
				if len(lines) > max(height, 2) {
					t.Fatalf("%d lines in a terminal of %d×%d", len(lines), width, height)
				}
				for _, line := range lines {
					if n := ansi.StringWidth(line); n > width || !utf8.ValidString(line) {
						t.Fatalf("%d columns in a terminal of %d×%d: %q", n, width, height, line)
					}
				}
				m.Update(tea.KeyPressMsg{Code: tea.KeyPgDown})
			}
		}
	}
	m := newModel(40, 100)
	m.Update(PictureMsg{moment(1)})
	if page := bare(m); strings.Contains(page, "sends by") || !strings.Contains(page, "written/s") {
		t.Errorf("a narrow table does not lose its last columns first:\n%s", page)
	}
	p := moment(2)
	p.Health.Reasons = []string{"sink main: the spool of http://127.0.0.1:8086 was damaged: 99 bytes lost"}
	m.Update(PictureMsg{p})
	if page := bare(m); !strings.Contains(page, "damaged: 99\n  bytes lost\n") {
		t.Errorf("a reason is not shown to its end:\n%s", page)
	}
}

// Goal: keys scroll within bounds, pause and quit; a lost connection is said and the old state stays; another
// run of the gateway begins anew.
func TestUpdate(t *testing.T) {
	m := newModel(80, 10)
	key := func(code rune) tea.Cmd {
		text := ""
		if code < 128 {
			text = string(code)
		}
		_, command := m.Update(tea.KeyPressMsg{Code: code, Text: text})
		m.Page()
		return command
	}
	m.Update(PictureMsg{moment(10)})
	m.Update(PictureMsg{moment(11)})
	key(tea.KeyUp)
	if m.top != 0 {
		t.Errorf("scrolled above the top to %d", m.top)
	}
	key(tea.KeyDown)
	key(tea.KeyDown)
	if m.top != 2 || strings.Contains(bare(m), "plant-7") {
		t.Errorf("at line %d after two downs:\n%s", m.top, bare(m))
	}
	for range 50 {
		key(tea.KeyPgDown)
	}
	if !strings.Contains(bare(m), "bad_number") {
		t.Errorf("the end is not shown:\n%s", bare(m))
	}
	key('g')
	key('p')
	m.Update(PictureMsg{moment(12)})
	if m.now.Status.UptimeSeconds != 11 || !strings.Contains(bare(m), "PAUSED") {
		t.Error("it moves while it is paused")
	}
	key('p')
	m.Update(PictureMsg{moment(12)})
	m.Update(LostMsg{errors.New("no route")})
	loss := "no connection to http://gw:9490: no route; what follows is"
	if page := bare(m); !strings.Contains(page, loss) || !strings.Contains(page, "plant-7") {
		t.Errorf("after a loss:\n%s", page)
	}
	m.Update(PictureMsg{moment(1)})
	if len(m.received) != 0 || m.before != nil || strings.Contains(bare(m), "no connection") {
		t.Errorf("another run goes on with the old figures: %v", m.received)
	}
	if command := key('q'); command == nil {
		t.Error("q does not quit")
	} else if _, quits := command().(tea.QuitMsg); !quits {
		t.Error("q does something else")
	}
	if command := key('x'); command != nil {
		t.Error("x does something")
	}
	for n := range 3 * historyMax {
		m.Update(PictureMsg{moment(2 + n)})
	}
	if len(m.received) != historyMax || len(m.p99) != historyMax {
		t.Errorf("%d moments are kept", len(m.received))
	}
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		want   string
	}{
		{nil, 10, ""}, {[]float64{0, 0}, 10, "▁▁"}, {[]float64{0, 7}, 10, "▁█"}, {[]float64{5}, 1, "█"},
		{[]float64{100, 0, 1, 2, 3, 4, 5, 6, 7}, 8, "▁▂▃▄▅▆▇█"}, {[]float64{1, 2}, 0, ""},
	} {
		if got := spark(c.values, c.width, 0); got != c.want {
			t.Errorf("%v: %q, want %q", c.values, got, c.want)
		}
	}
}

// Goal: states arrive from the stream, other events are passed over, and a stream that ends or lies is a loss
// after which the next one is read. Method: a server that says each in turn.
func TestFollow(t *testing.T) {
	answers := make(chan func(w http.ResponseWriter), 4)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/stream" {
			t.Errorf("it asks for %s", r.URL.Path)
		}
		select {
		case answer := <-answers:
			answer(w)
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	answers <- func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }
	answers <- func(w http.ResponseWriter) { fmt.Fprint(w, "event: picture\ndata: {}\n\n") }
	answers <- func(w http.ResponseWriter) {
		fmt.Fprint(w, "event: other\ndata: 1\n\nevent: picture\ndata: "+
			`{"health":{"state":"ready"},"status":{"gateway":"gw-7"}}`+"\n\n")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []string
	Follow(ctx, server.URL+"/", func(message any) {
		switch message := message.(type) {
		case PictureMsg:
			got = append(got, message.Status.Gateway)
		case LostMsg:
			got = append(got, message.Err.Error())
		}
		if len(got) == 4 {
			cancel()
		}
	})
	want := "ask the gateway: it answers 503 Service Unavailable, read the gateway's state: it is " +
		"not whole, gw-7, read the gateway's stream: EOF"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %q", got)
	}
}
