package influx

import (
	"strings"
	"testing"
)

// Goal: what the server refuses counts in the section that it stands in, however the server says which points
// they are, also where it does not say. Method: a batch of three sections, of which the second has one bad
// point and the third two.
func TestRefusedBySection(t *testing.T) {
	const line3 = `{"error":"partial write of line protocol occurred","data":[` +
		`{"original_line":"m bad=1 3","line_number":3,"error_message":"x"},` +
		`{"original_line":"m bad=1 5","line_number":5,"error_message":"x"},` +
		`{"original_line":"m bad=1 6","line_number":6,"error_message":"x"}]}`
	for name, answer := range map[string]func(q *request) bool{
		"named": func(q *request) bool { q.answer(400, "", line3); return true },
		"halved": func(q *request) bool {
			if strings.Contains(string(q.body), "bad") {
				q.answer(400, "", `{"error":"field type conflict"}`)
			} else {
				q.ok()
			}
			return true
		},
		"all": func(q *request) bool {
			q.answer(400, "X-Influxdb-Version: 1.8.10\r\n", `{"error":"unable to parse 'm bad': x"}`)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, answer)
			r := newRig(t, false, 1<<16, testConfig(s.listener.Addr()))
			b := r.pool.Take()
			for _, section := range []string{"m v=1 1\nm v=1 2\n", "m bad=1 3\nm v=1 4\n",
				"m bad=1 5\nm bad=1 6\n"} {
				b.Extend(append(b.Body(), section...), 2, 1)
				b.EndSection()
			}
			b.Seal(r.now())
			r.writer.Submit(b, r.now())
			outcome := r.outcome()
			var refused [3]int
			for i := range refused {
				refused[i] = b.Refused(i)
			}
			if outcome.Rejected != refused[0]+refused[1]+refused[2] {
				t.Errorf("%d are rejected, by section %v", outcome.Rejected, refused)
			}
			want := [3]int{0, 1, 2}
			if name == "all" {
				want = [3]int{2, 2, 2}
			}
			if refused != want {
				t.Errorf("by section %v are refused, want %v", refused, want)
			}
		})
	}
}

func TestHead(t *testing.T) {
	body := []byte("a v=\"x\ny\" 1\nb v=2 2\nc v=3 3")
	for _, c := range []struct{ size, length, points int }{
		{1, 12, 1}, {19, 12, 1}, {20, 20, 2}, {26, 20, 2}, {27, 27, 3}, {99, 27, 3},
	} {
		if length, points := Head(body, c.size); length != c.length || points != c.points {
			t.Errorf("of %d bytes: %d points in %d bytes, want %d in %d", c.size, points, length, c.points,
				c.length)
		}
	}
}

func TestFresh(t *testing.T) {
	p, err := NewPool(make([]byte, 1000), 1000)
	if err != nil {
		t.Fatal(err)
	}
	b := p.Take()
	left := b.Fresh([]byte("a v=1 9\na v=1 10\nb v=\"2 1\n3 1\" 11\nb v=2 -5\nc v=1\n"), 5, 10, 1)
	want := "a v=1 10\nb v=\"2 1\n3 1\" 11\nc v=1\n"
	if left != 2 || b.Points() != 3 || string(b.Body()) != want {
		t.Errorf("%d are left out, %d stay: %q, want %q", left, b.Points(), b.Body(), want)
	}
}
