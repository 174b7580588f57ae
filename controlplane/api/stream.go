package api

import (
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

// stream makes one event for all viewers who ask at about the same time.
type stream struct {
	ending chan struct{} // closed when the server stops

	mutex   sync.Mutex
	viewers int
	health  telemetry.Health
	last    []byte
	made    time.Time
}

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

// event is the present one, as it goes over the wire.
func (s *stream) event(snapshot func() *telemetry.Snapshot) ([]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.last != nil && time.Since(s.made) < streamShare {
		return s.last, nil
	}
	e := s.health.Next(snapshot())
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write a health event: %w", err)
	}
	s.last, s.made = fmt.Appendf(nil, "event: %s\ndata: %s\n\n", e.State, text), time.Now()
	return s.last, nil
}

// stream sends the gateway's state as server-sent events until the viewer or the server goes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if !s.events.enter() {
		s.fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d viewers are all there can be", viewersMax))
		return
	}
	defer s.events.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	ticker := time.NewTicker(streamInterval)
	defer ticker.Stop()
	for {
		event, err := s.events.event(s.snapshot)
		if err != nil {
			s.config.Log.Error("health stream", "error", err)
			return
		}
		// The server's own limit is for answers that end.
		if err := control.SetWriteDeadline(time.Now().Add(streamTime)); err != nil {
			return
		}
		if _, err := w.Write(event); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-s.events.ending:
			return
		}
	}
}
