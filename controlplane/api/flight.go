package api

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime/trace"
	"sync"
	"time"
)

const (
	// flightAge and flightBytes are how much of the past the recorder keeps, as hints to the Go runtime.
	flightAge   = 10 * time.Second
	flightBytes = 16 << 20
	// flightIdle ends a recording that nobody asked for again: it costs the gateway some of its time.
	flightIdle = 10 * time.Minute
)

// flight records what the Go runtime does, once it has been asked for, so that the next question gets what
// happened before it. It is off until then.
type flight struct {
	mutex    sync.Mutex
	recorder *trace.FlightRecorder // nil while it is off
	idle     *time.Timer
}

// take is the trace of the last seconds. The first time there is none yet: it is empty, and recording begins.
func (f *flight) take() ([]byte, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.recorder == nil {
		recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{
			MinAge: flightAge, MaxBytes: flightBytes,
		})
		if err := recorder.Start(); err != nil {
			return nil, fmt.Errorf("start the flight recorder: %w", err)
		}
		f.recorder, f.idle = recorder, time.AfterFunc(flightIdle, f.stop)
		return nil, nil
	}
	f.idle.Reset(flightIdle)
	var text bytes.Buffer
	if _, err := f.recorder.WriteTo(&text); err != nil {
		return nil, fmt.Errorf("write the flight recorder's trace: %w", err)
	}
	return text.Bytes(), nil
}

// stop ends the recording, if there is one.
func (f *flight) stop() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.recorder != nil {
		f.idle.Stop()
		f.recorder.Stop()
		f.recorder = nil
	}
}

// flight gives the last seconds of the Go runtime as a trace for `go tool trace`.
func (s *Server) flight(w http.ResponseWriter, _ *http.Request) {
	recorded, err := s.recorder.take()
	switch {
	case err != nil:
		s.fail(w, http.StatusServiceUnavailable, err.Error())
	case recorded == nil:
		s.answer(w, http.StatusAccepted, map[string]any{
			"recording": true,
			"next":      "ask again after what you want to see: the answer is a trace for `go tool trace`",
			"ends":      fmt.Sprintf("%s after the last question", flightIdle),
		})
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", `attachment; filename="culvert.trace"`)
		w.Write(recorded)
	}
}
