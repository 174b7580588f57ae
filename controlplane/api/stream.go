package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"culvert/controlplane/telemetry"
)

const (
	// streamInterval is how often a viewer gets an event: at least once a second, with room for a slow one.
	streamInterval = 900 * time.Millisecond
	// streamShare is how old an event may be that is shown to another viewer, too.
	streamShare = 500 * time.Millisecond
	// streamTime bounds how long a viewer may take to read an event.
	streamTime = 5 * time.Second
	// viewersMax bounds the connections that are kept open.
	viewersMax = 64
)

// pictureList is how many alerts and rejects a picture shows.
const pictureList = 50

// stream makes one event for all viewers who ask at about the same time.
type stream struct {
	ending chan struct{} // closed when the server stops

	mutex   sync.Mutex
	viewers int
	health  telemetry.Health
	made    time.Time
	seen    *telemetry.Snapshot // the one that the present events show
	now     *telemetry.HealthEvent
	last    [2][]byte // by content, as it goes over the wire; nil: nobody asked
}

// content is what a stream's events tell.
type content uint8

const (
	healthOnly content = iota // /health/stream
	wholeState                // /api/v1/stream: what the dashboard shows
)

// enter admits a viewer, or not.
func (s *stream) enter() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.viewers >= viewersMax {
		return false
	}
	s.viewers++
	return true
}

func (s *stream) leave() {
	s.mutex.Lock()
	s.viewers--
	s.mutex.Unlock()
}

// event is the present one, as it goes over the wire, and when it was made.
func (s *Server) event(what content) (text []byte, made time.Time, err error) {
	e := &s.events
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.seen == nil || time.Since(e.made) >= streamShare {
		e.seen = s.snapshot()
		e.now, e.made = e.health.Next(e.seen), time.Now()
		clear(e.last[:])
	}
	if e.last[what] != nil {
		return e.last[what], e.made, nil
	}
	name, document := string(e.now.State), any(e.now)
	if what == wholeState {
		name, document = telemetry.PictureEvent, telemetry.Picture{
			Health: e.now, Status: telemetry.NewStatus(e.seen),
			Alerts: newest(s.config.Alerts, pictureList), Rejects: newest(s.config.Rejects, pictureList),
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "event: %s\ndata: ", name)
	// The encoder ends the line.
	if err = json.NewEncoder(&out).Encode(document); err != nil {
		return nil, e.made, fmt.Errorf("write an event: %w", err)
	}
	out.WriteByte('\n')
	e.last[what] = out.Bytes()
	return e.last[what], e.made, nil
}

// stream sends how the gateway is, as server-sent events.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) { s.follow(w, r, healthOnly) }

// pictures sends everything that the dashboard shows, as server-sent events.
func (s *Server) pictures(w http.ResponseWriter, r *http.Request) { s.follow(w, r, wholeState) }

// follow sends events until the viewer or the server goes. All viewers wait from the making of the same event
// on, and so share the next one as well.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, what content) {
	if !s.events.enter() {
		s.fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d viewers are all there can be", viewersMax))
		return
	}
	defer s.events.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	// The connection's end is the stream's. In chunks an event takes three writes, of which each wakes the
	// viewer.
	w.Header().Set("Transfer-Encoding", "identity")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	timer := time.NewTimer(streamInterval)
	defer timer.Stop()
	for {
		event, made, err := s.event(what)
		if err != nil {
			s.config.Log.Error("event stream", "error", err)
			return
		}
		// The server's own limit is for answers that end.
		if err := control.SetWriteDeadline(time.Now().Add(streamTime)); err != nil {
			return
		}
		if _, err := w.Write(event); err != nil || control.Flush() != nil {
			return
		}
		timer.Reset(time.Until(made.Add(streamInterval)))
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		case <-s.events.ending:
			return
		}
	}
}
