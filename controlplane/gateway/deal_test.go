package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
)

// urlsRig is a gateway on loopback with several servers, whose file a test rewrites.
type urlsRig struct {
	*Gateway
	t         *testing.T
	file      string
	port      int
	dir, more string
}

func newURLsRig(t *testing.T, more string, urls ...string) *urlsRig {
	t.Helper()
	free, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	r := &urlsRig{t: t, port: free.LocalAddr().(*net.UDPAddr).Port, dir: t.TempDir(), more: more}
	free.Close()
	r.file = filepath.Join(r.dir, "culvert.yaml")
	if err := os.WriteFile(filepath.Join(r.dir, "token"), []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(urls...)
	setup, wrong := Load(r.file)
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	r.Gateway, err = Start(context.Background(), Options{Config: setup.Config, Rules: setup.Rules,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop() })
	return r
}

func (r *urlsRig) write(urls ...string) {
	r.t.Helper()
	text := fmt.Sprintf("interfaces: [{name: lo, mode: socket}]\nlisteners: [{name: plant, port: %d}]\n"+
		"sinks: [{name: main, urls: [%s], database: d, version: 3, token_file: token, timeout: 200ms, "+
		"retry: {attempts: 2, first: 1ms, max: 10ms}, %s}]\nspool: {dir: %s, max: 1GiB}\n",
		r.port, strings.Join(urls, ", "), r.more, filepath.Join(r.dir, "spool"))
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// reload reloads with these URLs and checks what is said: added, removed and kept URLs by their places among
// all, and the keys that wait for a restart.
func (r *urlsRig) reload(want string, all []string, urls ...string) {
	r.t.Helper()
	r.write(urls...)
	report, err := r.Reload()
	if err != nil {
		r.t.Fatal(err)
	}
	places := func(names []string) (at []int) {
		for _, name := range names {
			at = append(at, slices.Index(all, strings.TrimPrefix(name, "main ")))
		}
		return at
	}
	got := fmt.Sprint(places(report.URLs.Added), places(report.URLs.Removed), places(report.URLs.Kept),
		report.Restart, report.Warnings)
	if got != want {
		r.t.Fatalf("the reload says %s, want %s", got, want)
	}
}

func (r *urlsRig) status() *telemetry.Status { return telemetry.NewStatus(r.Snapshot()) }

// Goal: a URL that a reload takes out gets nothing new, the series of the others stay where they are, and
// what waits for it is delivered to it still; each point comes once and the ledger of each URL is exact. One
// that comes back gets its own series again. Method: three servers, one of which refuses for a while.
func TestReloadOfURLs(t *testing.T) {
	const series = 300
	for _, routing := range []string{"hash", "load_aware"} {
		t.Run(routing, func(t *testing.T) {
			servers := []*lineServer{newLineServer(t, "t"), newLineServer(t, "t"), newLineServer(t, "t")}
			var urls []string
			for _, s := range servers {
				urls = append(urls, s.URL)
			}
			r := newURLsRig(t, "on_remove: drain, routing: "+routing, urls...)
			sent := 0
			send := func() {
				for n := range series {
					sendTo(t, r.port, fmt.Sprintf("m,host=h%d v=1 %d", n, 1+sent/series))
					sent++
				}
			}
			owners := func(stamp int) map[string]int {
				owners := map[string]int{}
				for i, s := range servers {
					lines, twice, _ := s.has()
					if twice > 0 {
						t.Fatalf("%d lines came twice", twice)
					}
					for line := range lines {
						name, rest, _ := strings.Cut(line, " ")
						if strings.HasSuffix(rest, fmt.Sprintf(" %d\n", stamp)) {
							owners[name] = i
						}
					}
				}
				return owners
			}
			settled := func(waiting bool) {
				t.Helper()
				until(t, "all is settled", func() bool {
					l := r.status().Ledger
					return l.Received == uint64(sent) && l.InFlight == 0 && (l.SpoolPending > 0) == waiting
				})
				for _, sink := range r.status().Sinks {
					if sink.Points.Residue != 0 {
						t.Fatalf("%+v", sink)
					}
				}
			}
			send()
			settled(false)
			first := owners(1)

			servers[1].setToken("other")
			send()
			settled(true)
			r.reload("[] [1] [0 2] [] []", urls, urls[0], urls[2])
			send()
			until(t, "the others have the new points", func() bool { return len(owners(3)) == series })
			third, moved := owners(3), 0
			for name, owner := range first {
				switch now := third[name]; {
				case owner == 1 && now == 1:
					t.Fatalf("%s is still with the server that is gone", name)
				case owner == 1:
					moved++
				case owner != now:
					t.Fatalf("%s moved from %d to %d", name, owner, now)
				}
			}
			if moved == 0 {
				t.Fatal("nothing moved")
			}
			servers[1].setToken("t")
			settled(false)
			if late := owners(2); len(late) != series || !maps.Equal(late, first) {
				t.Fatal("what waited went to another server")
			}

			r.reload("[1] [] [0 2] [] []", urls, urls...)
			send()
			settled(false)
			if !maps.Equal(owners(4), first) {
				t.Fatal("the series are not where they were")
			}
			if l := r.status().Ledger; l.Written != uint64(sent) || l.Residue != 0 {
				t.Fatalf("%d sent: %+v", sent, l)
			}
			r.reload("[] [] [0 1 2] [sinks[0].urls] []", urls, append(urls, "http://127.0.0.1:1")...)
		})
	}
}

// Goal: where a URL cannot leave by reload, the key is named and nothing changes.
func TestReloadOfURLsWaits(t *testing.T) {
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}
	for _, more := range []string{"on_remove: rehash", "on_remove: keep",
		"on_remove: drain, routing: failover", "on_remove: drain, routing: replicate"} {
		r := newURLsRig(t, more, urls...)
		before := r.sinks[0].table.Load()
		r.reload("[] [] [0 1] [sinks[0].urls] []", urls, urls[:1]...)
		if r.sinks[0].table.Load() != before {
			t.Errorf("%s: the series are shared out anew", more)
		}
	}
}
