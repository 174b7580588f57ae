package api

import (
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/bpf/abi"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/scripts/testenv"
	"culvert/web"
)

// Goal: a browser gets the dashboard with its policy, whoever asks for no HTML gets text, and each file that
// the page names is there with its type.
func TestPageIsServed(t *testing.T) {
	s := start(t, Config{})
	fetch := func(path, accept string) (*http.Response, string) {
		request, err := http.NewRequest("GET", "http://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		answer := make([]byte, 1<<20)
		response, err := (&http.Client{Timeout: limit}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		n := 0
		for n < len(answer) {
			m, err := response.Body.Read(answer[n:])
			n += m
			if err != nil {
				break
			}
		}
		return response, string(answer[:n])
	}
	response, text := fetch("/", "*/*")
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") ||
		!strings.Contains(text, "gateway gw-7") {
		t.Errorf("for curl: %s\n%.200s", kind, text)
	}
	response, asText := fetch("/?text", "text/html,*/*;q=0.8")
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") ||
		!strings.Contains(asText, "gateway gw-7") {
		t.Errorf("for a browser that asks for text: %s\n%.200s", kind, asText)
	}
	response, text = fetch("/", "text/html,application/xhtml+xml,*/*;q=0.8")
	if kind := response.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" ||
		response.Header.Get("Content-Security-Policy") != policy || response.Header.Get("Vary") != "Accept" {
		t.Errorf("for a browser: %s, %v", kind, response.Header)
	}
	for name, kind := range map[string]string{
		"main.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml",
	} {
		if !strings.Contains(text, `"`+name+`"`) {
			t.Errorf("the page does not name %s", name)
		}
		response, _ := fetch("/"+name, "*/*")
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 ||
			!strings.HasPrefix(got, kind) {
			t.Errorf("%s: %d, %s", name, response.StatusCode, got)
		}
	}
	if !strings.Contains(text, `<noscript>`) || !strings.Contains(text, `<a href="?text">`) {
		t.Error("the page does not show the way to the text for who has no JavaScript")
	}
	// The policy would refuse these; a browser says so in its console alone.
	for _, refused := range []string{"<script>", " style=", " onclick=", "http://", "https://"} {
		if strings.Contains(text, refused) {
			t.Errorf("the page has %s in it", refused)
		}
	}
}

// alive is a busy gateway whose figures grow with time, and whose alert fires when it is told.
func alive(fires *atomic.Bool) Config {
	begun := time.Now()
	return Config{
		Snapshot: func() *telemetry.Snapshot {
			s := busy()
			n := uint64(time.Since(begun).Milliseconds())
			s.Started, s.Taken = begun, time.Now()
			c := &s.Workers[0].Counters
			c.PointsReceived[0], c.PointsWritten, c.PointsInFlight = 100*n, 99*n, n/2
			c.PointsDropped[dataplane.DropOverload] = n - n/2
			c.FramesReceived, c.FramesDecoded = 10*n, 10*n
			s.Interfaces[0].Verdicts[0].Count = 10 * n
			var h hist.Histogram
			for i := range n {
				h.Record(int64(i%977) * 3000)
			}
			h.AddTo(s.Stages["end_to_end"])
			return s
		},
		Alerts: func(int) []telemetry.Alert {
			if !fires.Load() {
				return []telemetry.Alert{}
			}
			return []telemetry.Alert{{Rule: "Hot", Labels: map[string]string{"machine": "m1"},
				Annotations: map[string]string{"summary": "m1: 96"}, Since: time.Now(), Fingerprint: "1"}}
		},
		Rejects: func(int) []telemetry.Reject {
			return []telemetry.Reject{{Taken: begun, Stage: "decode", Reason: "bad_number", Column: 7,
				Source: "10.0.0.1:9", Listener: "plant", Text: "motor t=x", Total: 1}}
		},
	}
}

// Goal: the dashboard knows which verdicts end a packet, as the XDP program has them.
func TestPageKnowsTheVerdicts(t *testing.T) {
	text, err := os.ReadFile("../../web/page/flow.js")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for v := range abi.Verdicts {
		if v.Dropped() {
			names = append(names, `"`+v.String()+`"`)
		}
	}
	want := "const droppedByXDP = [" + strings.Join(names, ", ") + "];"
	if !strings.Contains(string(text), want) {
		t.Errorf("flow.js lacks %s", want)
	}
}

// Goal: the page works in a real browser, with plots and without: no errors, moving figures, an alert that
// appears and is announced, keyboard, phone, both colour schemes, the rules of accessibility. Method:
// web/look looks by Chromium; screenshots stay in build/screenshots.
func TestPageInChromium(t *testing.T) {
	built, err := web.Files()
	if err != nil {
		t.Fatal(err)
	}
	plain := os.DirFS("../../web/page")
	pages := map[string]fs.FS{"plain": plain, "built": built}
	for name, files := range testenv.Sized(pages, map[string]fs.FS{"built": built}) {
		t.Run(name, func(t *testing.T) {
			var fires atomic.Bool
			config := alive(&fires)
			config.page = files
			s := start(t, config)
			look := testenv.LookAt(t, "http://"+s.Addr().String()+"/", "api-"+name, "Hot")
			if err := look.Start(); err != nil {
				t.Fatal(err)
			}
			look.Moving()
			fires.Store(true)
			look.Done()
		})
	}
}
