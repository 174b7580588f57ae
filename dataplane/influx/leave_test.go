package influx

import (
	"strings"
	"testing"
)

// Goal: a writer that was left gives back what waits and what comes, and lets what is under way get its
// answer; its connections close. After its return it sends as before. Method: a server that holds an answer.
func TestLeave(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		letGo, got := make(chan struct{}), make(chan struct{}, 10)
		s := newServer(t, func(q *request) bool {
			got <- struct{}{}
			<-letGo
			q.ok()
			return true
		})
		c := asideConfig(s.listener.Addr())
		c.Connections = 1
		r := newRig(t, ring, 1<<16, c)
		first, second, third := points(5, 0), points(6, 0), points(7, 0)
		r.submit(first...)
		r.until("the request is there", func() bool { return len(got) > 0 })
		r.submit(second...)
		r.writer.Leave()
		if rest := r.expectAside(0, 0, 6); strings.Join(rest, "") != text(second) {
			t.Fatalf("what waited is %q", rest)
		}
		r.submit(third...)
		r.expectAside(0, 0, 7)
		close(letGo)
		r.expect(5, 0, 0, ReasonNone, 204)
		r.until("the connection is closed", func() bool { return r.writer.Stats().Connections == 0 })
		if n := len(s.seen()); n != 1 {
			t.Fatalf("%d requests", n)
		}
		r.writer.Return()
		r.submit(third...)
		r.expect(7, 0, 0, ReasonNone, 204)
	})
}

// Goal: where nobody keeps what would be set aside, a writer that is left goes on.
func TestLeaveWithoutAside(t *testing.T) {
	s := newServer(t, func(q *request) bool { q.ok(); return true })
	r := newRig(t, false, 1<<16, testConfig(s.listener.Addr()))
	r.writer.Leave()
	r.submit(points(5, 0)...)
	r.expect(5, 0, 0, ReasonNone, 204)
}
