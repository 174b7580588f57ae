package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// Goal: every alert is a line that our own decoder reads, whatever stands in it.
func TestLinesAreLineProtocol(t *testing.T) {
	odd := []string{"plain", "a b", "a,b=c", `back\slash`, `ends\`, `"quoted"`, "two\nlines", "tab\t",
		"é日",
		"\xff", "", `\, \= `, " ", "=", ","}
	for _, name := range odd {
		for _, value := range odd {
			a := Alert{Rule: "Hot", Firing: true, Time: 17, Fingerprint: "f", Reason: value,
				Labels: map[string]string{"x" + name: value}, Annotations: map[string]string{name: value}}
			line := a.AppendLine(nil, true)
			var decoder lineproto.Decoder
			var p point.Point
			p.ScratchBytes = make([]byte, 0, 1<<16)
			decoder.Start(line, lineproto.Nanosecond, &p)
			if decoder.Next(&p) != lineproto.OK {
				t.Fatalf("%q is no line: %v", line, decoder.Reason())
			}
			if !p.HasTime || p.Time != a.Time || string(p.Bytes(p.Measurement)) != Measurement {
				t.Fatalf("%q is read as something else", line)
			}
			if bytes.Count(line, []byte("\n")) != 1 {
				t.Fatalf("%q is not one line", line)
			}
		}
	}
}

// Goal: every alert is an object of JSON that says what the alert says, in one line.
func TestJSON(t *testing.T) {
	for _, text := range []string{"plain", `"quoted\`, "two\nlines\x00\x1f\x7f", "é日本 <&>", "", "\u2028"} {
		a := Alert{Rule: text, Time: 1_700_000_000_000_000_001, Since: 1_600_000_000_000_000_000,
			Fingerprint: "f", Reason: text, Labels: map[string]string{text: text, "b": "c"},
			Annotations: map[string]string{"a": text}}
		for _, whole := range []bool{true, false} {
			line := a.AppendJSON(nil, whole)
			var got struct {
				Version                          int
				Rule, State, Reason, Fingerprint string
				Time, Since                      time.Time
				Labels, Annotations              map[string]string
				Truncated                        bool
			}
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&got); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if got.Version != 1 || got.Rule != text || got.State != "resolved" || got.Reason != text ||
				got.Fingerprint != "f" || got.Time.UnixNano() != a.Time || got.Since.UnixNano() != a.Since ||
				!maps.Equal(got.Labels, a.Labels) || got.Truncated == whole ||
				whole && got.Annotations["a"] != text || !whole && got.Annotations != nil {
				t.Errorf("%q is read as %+v", line, got)
			}
			if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
				t.Errorf("%q is not one line", line)
			}
		}
	}
	broken := Alert{Rule: "a\xffb"}
	line := broken.AppendJSON(nil, true)
	if !bytes.Contains(line, []byte("\"a\ufffdb\"")) || !json.Valid(line) {
		t.Errorf("%q", line)
	}
}

func TestAnnotationsGiveWay(t *testing.T) {
	a := Alert{Rule: "Hot", Annotations: map[string]string{"a": strings.Repeat("x", 500)}}
	for _, format := range []Format{JSON, Line} {
		whole := format.Append([]byte("before"), &a, 1000)
		if !bytes.HasPrefix(whole, []byte("before")) || len(whole) < 500 {
			t.Errorf("%q", whole)
		}
		short := format.Append([]byte("before"), &a, len(whole)-len("before")-1)
		if !bytes.HasPrefix(short, []byte("before")) || len(short) > 200 ||
			bytes.Contains(short, []byte("xx")) {
			t.Errorf("%q", short)
		}
	}
}
