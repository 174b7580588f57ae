package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Picture is the whole state of the gateway at one moment, as the dashboard and `culvert top` show it.
type Picture struct {
	Health  *HealthEvent `json:"health"`
	Status  *Status      `json:"status"`
	Alerts  []Alert      `json:"alerts"`  // the newest
	Rejects []Reject     `json:"rejects"` // the last
}

// PictureEvent is the name of the server-sent events that carry pictures.
const PictureEvent = "picture"

// Alert is one alert that fires now.
type Alert struct {
	Rule        string            `json:"rule"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Since       time.Time         `json:"since"` // event time
	Fingerprint string            `json:"fingerprint"`
}

// alertsKept bounds what is remembered of firing alerts. The rules' own counts go on beyond it.
const alertsKept = 10_000

// Firing remembers which alerts fire. It is made by its zero value and may be used from any goroutine.
type Firing struct {
	mutex  sync.Mutex
	alerts map[string]Alert // by fingerprint
}

// Change enters an alert that begins to fire, or takes out one that ends. Its maps are kept and must not be
// written to any more. The newest alert is not taken in when there are too many.
func (f *Firing) Change(a Alert, firing bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !firing {
		delete(f.alerts, a.Fingerprint)
		return
	}
	if f.alerts == nil {
		f.alerts = map[string]Alert{}
	}
	if _, known := f.alerts[a.Fingerprint]; known || len(f.alerts) < alertsKept {
		f.alerts[a.Fingerprint] = a
	}
}

// Newest are at most n alerts, those that began last first. The maps in them are shared: only to be read.
func (f *Firing) Newest(n int) []Alert {
	f.mutex.Lock()
	all := make([]Alert, 0, len(f.alerts))
	for _, a := range f.alerts {
		all = append(all, a)
	}
	f.mutex.Unlock()
	slices.SortFunc(all, func(a, b Alert) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all[:min(n, len(all))]
}

// Reject is one rejected packet, line or batch of points: a sample of its reason.
type Reject struct {
	Taken    time.Time `json:"taken"`
	Stage    string    `json:"stage"` // packet | decode | sink
	Reason   string    `json:"reason"`
	Source   string    `json:"source,omitempty"` // address and port; empty at the sink
	Listener string    `json:"listener,omitempty"`
	Column   int       `json:"column,omitempty"` // 1-based, in bytes, where the line went wrong
	Text     string    `json:"text,omitempty"`   // the line, or its beginning
	Words    string    `json:"words,omitempty"`  // what the server said
	Sink     string    `json:"sink,omitempty"`
	URL      string    `json:"url,omitempty"`
	TraceID  string    `json:"trace_id,omitempty"` // of the point's batch, if that was traced
	Total    uint64    `json:"total,omitempty"`    // how many one worker had for this reason by then
}

// Rejects remembers the last rejects. It may be used from any goroutine.
type Rejects struct {
	mutex sync.Mutex
	ring  []Reject
	next  uint64 // how many there were so far
}

// NewRejects remembers the last keep of them.
func NewRejects(keep int) *Rejects { return &Rejects{ring: make([]Reject, max(keep, 1))} }

// Add enters one in place of the oldest.
func (r *Rejects) Add(one Reject) {
	r.mutex.Lock()
	r.ring[r.next%uint64(len(r.ring))] = one
	r.next++
	r.mutex.Unlock()
}

// Newest are at most n rejects, the last one first.
func (r *Rejects) Newest(n int) []Reject {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	n = max(min(n, len(r.ring), int(min(r.next, uint64(len(r.ring))))), 0)
	list := make([]Reject, n)
	for i := range list {
		list[i] = r.ring[(r.next-1-uint64(i))%uint64(len(r.ring))]
	}
	return list
}
