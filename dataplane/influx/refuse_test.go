package influx

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// strict is a server that takes some lines and refuses others, in the way of one version of InfluxDB.
type strict struct {
	mutex    sync.Mutex
	stored   map[string]bool
	requests int
}

// unparsable lines are bad in themselves, conflicting ones do not fit what is stored.
func unparsable(line string) bool  { return strings.HasPrefix(line, "bad") }
func conflicting(line string) bool { return strings.HasPrefix(line, "conflict") }

func escapedJSON(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text)
}

// serve answers like version 1, 2 or 3.
func (s *strict) serve(version int) func(q *request) bool {
	return func(q *request) bool {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.requests++
		stored, answer := answerOf(version, q.lines())
		for _, line := range stored {
			s.stored[line] = true
		}
		io.WriteString(q.conn, answer)
		return true
	}
}

// answerOf is what a version of InfluxDB stores of a request, and what it answers.
func answerOf(version int, lines []string) (stored []string, answer string) {
	var quotes, objects []string
	dropped := 0
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\n")
		why := "invalid number"
		switch {
		case unparsable(line):
			quotes = append(quotes, fmt.Sprintf("unable to parse '%s': %s", line, why))
		case conflicting(line):
			dropped++
			why = "column type conflict"
		default:
			stored = append(stored, line)
			continue
		}
		objects = append(objects, fmt.Sprintf(
			`{"original_line":"%s","line_number":%d,"error_message":"%s"}`, escapedJSON(line), i+1, why))
	}
	text := strings.Join(quotes, "\n")
	conflict := `field type conflict: input field "v" on measurement "m" is type string`
	const words, one = "400 Some Words", "X-Influxdb-Version: 1.8.10\r\n"
	switch {
	case len(objects) == 0:
		return stored, "HTTP/1.1 204 No Content\r\n\r\n"
	case version == 3:
		return stored, withBody(words, "", `{"error":"partial write of line protocol occurred","data":[`+
			strings.Join(objects, ",")+`]}`)
	case version == 2 && text != "":
		return nil, withBody(words, "", `{"code":"invalid","message":"`+escapedJSON(text)+`"}`)
	case version == 2:
		return stored, withBody("422 Some Words", "", fmt.Sprintf(`{"code":"unprocessable entity",`+
			`"message":"failure writing points to database: partial write: %s dropped=%d"}`,
			escapedJSON(conflict), dropped))
	case len(stored) == 0 && dropped == 0:
		return nil, withBody(words, one, `{"error":"`+escapedJSON(text)+`"}`)
	}
	if dropped > 0 && text == "" {
		text = conflict
	}
	return stored, withBody(words, one, fmt.Sprintf(`{"error":"partial write: %s dropped=%d"}`,
		escapedJSON(text), dropped))
}

// Goal: whatever the version, exactly the bad points of a batch are refused, each with the server's words,
// and all others are stored; where the server names the lines, without sending again what is stored. Method:
// servers that answer as each version does.
func TestRefusalsAreResolvedToPoints(t *testing.T) {
	for _, row := range []struct {
		name     string
		version  int
		bad      map[int]string
		requests int // at most
	}{
		{"v1 quotes", 1, map[int]string{0: "bad v=1u 1", 77: `bad s="it's': ",v=1u 2`, 199: "bad v=2u 3"}, 1},
		{"v1 conflicts", 1, map[int]string{3: "conflict v=\"x\" 1", 120: "conflict v=\"y\" 2"}, 40},
		{"v1 both", 1, map[int]string{3: "conflict v=\"x\" 1", 4: "bad v=1u 2", 5: "bad v=3u 2"}, 40},
		{"v2 quotes", 2, map[int]string{0: "bad v=1x 1", 1: "bad v=2x 1", 50: "bad v=3x 1",
			199: "bad v=4x 1"}, 4},
		{"v2 conflicts", 2, map[int]string{3: "conflict v=\"x\" 1"}, 20},
		{"v2 both", 2, map[int]string{3: "conflict v=\"x\" 1", 100: "bad v=1x 1"}, 25},
		{"v3", 3, map[int]string{0: "bad v=1x 1", 13: "conflict v=\"\\\"line_number\\\":7\" 1",
			199: "bad v=4x 1"}, 1},
		{"v3 all", 3, allBad(200), 1},
		{"v1 all", 1, allBad(200), 1},
		{"v2 all", 2, allBad(200), 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, ring bool) {
				s := &strict{stored: map[string]bool{}}
				server := newServer(t, s.serve(row.version))
				r := newRig(t, ring, 1<<16, testConfig(server.listener.Addr()))
				lines := points(200, 60)
				for i, line := range row.bad {
					lines[i] = line
				}
				r.submit(lines...)
				o := r.outcome()
				if o.Written != 200-len(row.bad) || o.Rejected != len(row.bad) || o.Undelivered != 0 {
					t.Fatalf("%+v", o)
				}
				s.mutex.Lock()
				defer s.mutex.Unlock()
				if len(s.stored) != o.Written || s.requests > row.requests {
					t.Fatalf("%d lines are stored after %d requests", len(s.stored), s.requests)
				}
				var told []string
				for _, refusal := range r.writer.Refusals() {
					told = append(told, refusal.Line)
					if refusal.Words == "" || refusal.Code < 400 {
						t.Errorf("%+v", refusal)
					}
					if row.version == 3 && unparsable(refusal.Line) && refusal.Words != "invalid number" {
						t.Errorf("%+v has another line's words", refusal)
					}
				}
				want := slices.Sorted(maps.Values(row.bad))
				slices.Sort(told)
				if !slices.Equal(told, want) {
					t.Fatalf("refused are %q, want %q", told, want)
				}
			})
		})
	}
}

func allBad(n int) map[int]string {
	bad := map[int]string{}
	for i := range n {
		bad[i] = fmt.Sprintf("bad v=%dx %d", i, i)
	}
	return bad
}

// Goal: a server that refuses everything is misconfigured; its words are no verdict about points: nothing is
// refused, and all is written once it is mended.
func TestRefusalOfEverythingIsHeld(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var mutex sync.Mutex
		mended, stored := false, map[string]bool{}
		server := newServer(t, func(q *request) bool {
			mutex.Lock()
			defer mutex.Unlock()
			if !mended {
				q.answer(400, "", `{"code":"invalid","message":"bucket name is not what it should be"}`)
				return true
			}
			for _, line := range q.lines() {
				stored[line] = true
			}
			q.ok()
			return true
		})
		r := newRig(t, ring, 1<<16, testConfig(server.listener.Addr()))
		r.submit(points(100, 0)...)
		r.submit("lone v=1 1")
		r.until("hold", func() bool { return r.writer.Breaker() == BreakerOpen })
		r.until("probes", func() bool { return len(server.seen()) > 12 })
		if r.writer.Up() || !strings.Contains(r.writer.LastError(), "it refuses all that it is sent") ||
			len(r.writer.Refusals()) > 0 {
			t.Fatalf("up %t, %q, refusals %v", r.writer.Up(), r.writer.LastError(), r.writer.Refusals())
		}
		mutex.Lock()
		mended = true
		mutex.Unlock()
		written := 0
		for range 2 {
			o := r.outcome()
			if o.Rejected+o.Undelivered > 0 {
				t.Fatalf("%+v", o)
			}
			written += o.Written
		}
		mutex.Lock()
		defer mutex.Unlock()
		if written != 101 || len(stored) != 101 {
			t.Fatalf("%d written, %d stored, want 101", written, len(stored))
		}
	})
}

// Goal: a point that the server refuses without naming it, while it takes others, is refused alone, even if
// it is the first that the server ever sees.
func TestUnnamedPointIsRefusedAlone(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		server := newServer(t, func(q *request) bool {
			if strings.Contains(q.body, "odd") {
				q.answer(400, "", `{"code":"invalid","message":"I do not like it"}`)
			} else {
				q.ok()
			}
			return true
		})
		r := newRig(t, ring, 1<<16, testConfig(server.listener.Addr()))
		lines := points(64, 0)
		lines[0] = "odd v=1 1"
		r.submit(lines...)
		r.expect(63, 1, 0, ReasonRefused, 400)
		if told := r.writer.Refusals(); len(told) != 1 || told[0].Line != "odd v=1 1" ||
			told[0].Words != "I do not like it" {
			t.Fatalf("%+v", told)
		}
		r.writer.RefusalsTaken()
		if len(r.writer.Refusals()) != 0 {
			t.Fatal("refusals are told twice")
		}
	})
}
