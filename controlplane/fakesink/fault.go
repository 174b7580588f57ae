package fakesink

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Reset as a Fault's code hangs up instead of answering.
const Reset = 0

// Fault is one way in which a share of the writes fails. The write is read and discarded.
type Fault struct {
	Code       int     // of the answer, 400 to 599; or Reset
	Share      float64 // 0 to 1
	RetryAfter time.Duration
}

// ParseFault reads CODE:SHARE%, with :TIME behind it for a Retry-After header; CODE may be "reset". Examples:
// 503:20%, 429:5%:2s, reset:0.5%.
func ParseFault(text string) (Fault, error) {
	wrong := func(problem string) (Fault, error) {
		return Fault{}, fmt.Errorf("fault %q: %s; say 503:20%%, 429:5%%:2s or reset:1%%", text, problem)
	}
	var f Fault
	code, rest, found := strings.Cut(text, ":")
	if !found {
		return wrong("it lacks a share")
	}
	if code != "reset" {
		var err error
		if f.Code, err = strconv.Atoi(code); err != nil || f.Code < 400 || f.Code > 599 {
			return wrong("its code is not in 400 to 599")
		}
	}
	share, after, timed := strings.Cut(rest, ":")
	percent, hasSign := strings.CutSuffix(share, "%")
	n, err := strconv.ParseFloat(percent, 64)
	if err != nil || !hasSign || !(n >= 0 && n <= 100) {
		return wrong("its share is not in 0% to 100%")
	}
	f.Share = n / 100
	if timed {
		if f.RetryAfter, err = time.ParseDuration(after); err != nil || f.RetryAfter < 0 {
			return wrong("its time is not a duration such as 2s")
		}
	}
	return f, nil
}

// draw decides whether a write fails, and how; nil if it does not.
func (s *Sink) draw() *Fault {
	if len(s.config.Faults) == 0 {
		return nil
	}
	s.mutex.Lock()
	n := float64(s.random.Uint64()>>11) / (1 << 53)
	s.mutex.Unlock()
	for i := range s.config.Faults {
		f := &s.config.Faults[i]
		if n < f.Share {
			return f
		}
		n -= f.Share
	}
	return nil
}

func (f *Fault) serve(w http.ResponseWriter) {
	if f.Code != Reset {
		if f.RetryAfter > 0 {
			// The header counts whole seconds.
			seconds := int64((f.RetryAfter + time.Second - 1) / time.Second)
			w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
		}
		answer(w, f.Code, message{Error: "failed on demand"})
		return
	}
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				// Closed with RST, as by a server that crashed.
				_ = tcp.SetLinger(0)
			}
			conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}
