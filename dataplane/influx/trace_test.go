package influx

import (
	"strings"
	"testing"
)

// Goal: the header names the trace and each attempt's own span, in the form of W3C Trace Context, and is no
// longer than the room that heads leave for it.
func TestTraceHeader(t *testing.T) {
	trace := &Trace{ID: [16]byte{0: 0xa1, 15: 0x0f}, Span: 0x00f0_0000_0000_0001}
	const trunk = "x\r\ntraceparent: 00-a100000000000000000000000000000f-"
	for _, want := range []string{"00f0000000000002", "00f0000000000003"} {
		trace.next()
		got := string(trace.appendTo([]byte("x")))
		if got != trunk+want+"-01" || len(got)-1 != traceHeader {
			t.Errorf("attempt %d: %q, %d bytes of %d", trace.Count, got, len(got)-1, traceHeader)
		}
	}
	for range 2 * traceAttempts {
		trace.next()
	}
	if trace.Count != traceAttempts {
		t.Errorf("%d attempts are told apart", trace.Count)
	}
	trace.Span = ^uint64(0)
	if got := string(trace.appendTo(nil)); !strings.HasSuffix(got, "-01") || len(got) != traceHeader {
		t.Errorf("%q", got)
	}
}
