package notify

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// reload changes the notifiers and returns what changed.
func reload(t *testing.T, n *Notifiers, configs ...Config) *Reload {
	t.Helper()
	r, err := n.PrepareReload(configs)
	if err != nil {
		t.Fatal(err)
	}
	r.Begin()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := r.Finish(ctx); err != nil {
		t.Error(err)
	}
	return r
}

// Goal: after a reload a new receiver knows what fires, the old one was told what waited for it, a receiver
// that stays is told nothing twice, and no resolution is lost.
func TestReloadOfNotifiers(t *testing.T) {
	first, second, kept, gone := newHook(t, always()), newHook(t, always()), newHook(t, always()),
		newHook(t, always())
	hookOf := func(name string, h *hook, limit int) Config {
		return Config{Name: name, Type: "webhook", URLs: []string{h.URL}, Limit: limit}
	}
	n := start(t, nil, hookOf("moved", first, 0), hookOf("tuned", kept, 0), hookOf("same", kept, 0),
		hookOf("gone", gone, 0))
	same := n.table.Load().byName["same"][0]
	n.Send(alert("Hot", 1, true, "moved", "tuned", "same", "gone"))
	n.Send(alert("Hot", 3, true, "gone"))
	r := reload(t, n, hookOf("same", kept, 0), hookOf("moved", second, 0), hookOf("tuned", kept, 7),
		hookOf("new", second, 0))
	if got := fmt.Sprint(r.Added, r.Changed, r.Removed, r.Kept); got != "[new] [moved tuned] [gone] [same]" {
		t.Errorf("changed %s", got)
	}
	if n.table.Load().byName["same"][0] != same {
		t.Error("what stays as it is was made anew")
	}
	n.Send(alert("Hot", 1, false, "moved", "tuned", "same"))
	n.Send(alert("Hot", 4, true, "new"))
	finish(t, n)
	f := func(name string, h *hook, want ...string) {
		t.Helper()
		got := h.changes()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s was told %q, want %q", name, got, want)
		}
	}
	f("the first receiver", first, "m1 firing")
	f("the second", second, "m1 firing", "m1 resolved", "m4 firing")
	f("the one that stays", kept, "m1 firing", "m1 firing", "m1 resolved", "m1 resolved")
	f("the one that goes", gone, "m1 firing", "m3 firing")
}

// Goal: what a receiver did not take before a reload that changes its settings, it gets after it; what is
// wrong changes nothing.
func TestReloadWhileAReceiverIsAway(t *testing.T) {
	var mutex sync.Mutex
	away := true
	h := newHook(t, func(http.ResponseWriter, int) int {
		mutex.Lock()
		defer mutex.Unlock()
		if away {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	c := Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}, First: time.Millisecond}
	n := start(t, nil, c)
	n.Send(alert("Hot", 1, true, "ops"))
	waitFor(t, n, func(s *Stats) bool { return s.Retries > 0 })
	if _, err := n.PrepareReload([]Config{c, {Name: "bad", Type: "pigeon"}}); err == nil {
		t.Error("a type that there is none of is taken")
	}
	c.Limit = 5
	reload(t, n, c)
	mutex.Lock()
	away = false
	mutex.Unlock()
	n.Send(alert("Hot", 1, false, "ops"))
	n.Send(alert("Hot", 2, true, "ops"))
	finish(t, n)
	// It may have heard of the first alert before its answers were lost, so it is told of the end.
	if got := h.changes(); !slices.Contains(got, "m1 resolved") || !slices.Contains(got, "m2 firing") {
		t.Errorf("told %q", got)
	}
}

// Goal: no alert is lost between two tables. Method: goroutines send while the receiver moves to and fro.
func TestSendDuringReload(t *testing.T) {
	hooks := []*hook{newHook(t, always()), newHook(t, always())}
	c := Config{Name: "ops", Type: "webhook", URLs: []string{hooks[0].URL}}
	n := start(t, nil, c)
	const senders, each = 4, 100
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				n.Send(alert("Hot", s*each+i, true, "ops"))
			}
		})
	}
	for i := range 8 {
		c.URLs = []string{hooks[i%2].URL}
		reload(t, n, c)
	}
	all.Wait()
	finish(t, n)
	told := map[string]bool{}
	for _, change := range hooks[1].changes() {
		told[change] = true
	}
	if len(told) != senders*each {
		t.Errorf("the last receiver knows %d alerts, want %d", len(told), senders*each)
	}
}
