package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"culvert/controlplane/telemetry"
)

// tap sends points as they pass, as server-sent events. Points are somebody's data: only who is on this
// machine gets them.
func (s *Server) tap(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	switch {
	case s.config.Tap == nil:
		s.fail(w, http.StatusNotFound, "there is nothing to tap")
		return
	case err != nil || !from.Addr().Unmap().IsLoopback():
		s.fail(w, http.StatusForbidden, "points are shown on the gateway's own machine alone, by loopback")
		return
	case r.Method == http.MethodHead:
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.events.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	control, begun := http.NewResponseController(w), false
	err = s.config.Tap(ctx, r.URL.Query().Get("match"), func(p *telemetry.TappedPoint) error {
		begun = true
		// A comment, which keeps the connection and says that nothing passes.
		text := []byte(": tapping\n\n")
		if p != nil {
			point, err := json.Marshal(p)
			if err != nil {
				return fmt.Errorf("write a point: %w", err)
			}
			text = fmt.Appendf(nil, "event: %s\ndata: %s\n\n", telemetry.TapEvent, point)
		}
		if err := control.SetWriteDeadline(time.Now().Add(streamTime)); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		return control.Flush()
	})
	if err != nil && !begun {
		s.fail(w, http.StatusBadRequest, err.Error())
	}
}
