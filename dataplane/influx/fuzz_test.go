package influx

import "testing"

// FuzzResponse feeds an answer whole, in two pieces cut anywhere, and byte by byte: all must read the same.
func FuzzResponse(f *testing.F) {
	for _, a := range answers {
		f.Add([]byte(a.text), uint16(len(a.text)/2), uint16(a.points))
	}
	f.Fuzz(func(t *testing.T, text []byte, cut, points uint16) {
		if len(text) > 1<<16 {
			return
		}
		type result struct {
			used           int
			done, failed   bool
			status         int
			close          bool
			body           int64
			first, last    string
			after, version bool
			verdict        verdict
			rejected       int
		}
		read := func(sizes func(at int) int) result {
			var r response
			var o result
			for o.used < len(text) && !o.done && !o.failed {
				n, done, err := r.feed(text[o.used:min(o.used+sizes(o.used), len(text))])
				o.used += n
				o.done, o.failed = done, err != nil
			}
			if o.failed {
				return result{failed: true}
			}
			o.done = o.done || r.end()
			if !o.done {
				return result{used: o.used}
			}
			o.status, o.close, o.body = r.status, r.close, r.bodyBytes
			o.first, o.last = string(r.first[:r.firstLength]), string(r.tail.bytes[:r.tail.length])
			o.after, o.version = r.retryAfter != "", r.versionOne
			o.verdict, o.rejected = judge(&r, int(points))
			if o.rejected < 0 || o.rejected > int(points) {
				t.Fatalf("%d of %d points are rejected", o.rejected, points)
			}
			return o
		}
		whole := read(func(int) int { return len(text) })
		two := read(func(at int) int {
			if at < int(cut) {
				return int(cut) - at
			}
			return len(text)
		})
		single := read(func(int) int { return 1 })
		if whole != two || whole != single {
			t.Fatalf("whole %+v\ntwo %+v\nsingle %+v", whole, two, single)
		}
	})
}

// FuzzCulprits lets answers name lines of a body: what is found must be lines of it, in order, each once.
func FuzzCulprits(f *testing.F) {
	body := []byte("m v=1u 1001\nm v=2 1002\nm s=\"a\nb\" 1003\nm v=2u 1002\n")
	for _, a := range answers {
		f.Add([]byte(a.text), body, uint16(4))
	}
	f.Add([]byte(`[{"line_number":4,"error_message":"\u0041\"}"},{"line_number":4}]`), body, uint16(4))
	f.Fuzz(func(t *testing.T, text, body []byte, points uint16) {
		var r response
		r.status = 400
		r.phase = phaseToEOF
		if _, err := r.text(text); err != nil {
			return
		}
		before := -1
		for _, c := range r.culprits(body, int(points)) {
			if c.line <= before || c.line >= int(points) {
				t.Fatalf("line %d after %d of %d", c.line, before, points)
			}
			before = c.line
		}
	})
}
