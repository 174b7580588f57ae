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
	t                *testing.T
	file             string
	port             int
	dir, more, spool string // more is of the sink, spool of the section
}

// newURLsRig starts a gateway with these URLs.
func newURLsRig(t *testing.T, more string, urls ...string) *urlsRig {
	t.Helper()
	r := idleURLsRig(t, more)
	r.start(urls...)
	return r
}

func idleURLsRig(t *testing.T, more string) *urlsRig {
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
	return r
}

func (r *urlsRig) start(urls ...string) {
	r.t.Helper()
	r.write(urls...)
	setup, wrong := Load(r.file)
	if len(wrong) > 0 {
		r.t.Fatal(wrong[0])
	}
	g, err := Start(context.Background(), Options{Config: setup.Config, Rules: setup.Rules,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Gateway = g
	r.t.Cleanup(func() { g.Stop() })
}

func (r *urlsRig) write(urls ...string) {
	r.t.Helper()
	text := fmt.Sprintf("interfaces: [{name: lo, mode: socket}]\nlisteners: [{name: plant, port: %d}]\n"+
		"sinks: [{name: main, urls: [%s], database: d, version: 3, token_file: token, timeout: 5s, "+
		"retry: {attempts: 2, first: 1ms, max: 10ms}, %s}]\nspool: {dir: %s, max: 1GiB%s}\n",
		r.port, strings.Join(urls, ", "), r.more, filepath.Join(r.dir, "spool"), r.spool)
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

			// One that was never there takes over its share and nothing else moves.
			servers = append(servers, newLineServer(t, "t"))
			urls = append(urls, servers[3].URL)
			r.reload("[3] [] [0 1 2] [] []", urls, urls...)
			send()
			settled(false)
			taken := 0
			for name, owner := range owners(5) {
				if owner == 3 {
					taken++
				} else if owner != first[name] {
					t.Fatalf("%s moved from %d to %d", name, first[name], owner)
				}
			}
			// A quarter of 300, give or take four standard deviations.
			if taken < 45 || taken > 105 {
				t.Fatalf("the new server has %d of %d series", taken, series)
			}
			s := r.status()
			if l := s.Ledger; l.Written != uint64(sent) || l.Residue != 0 || len(s.Sinks) != 4 ||
				!s.Sinks[3].Up {
				t.Fatalf("%d sent: %+v", sent, s)
			}
			r.reload("[] [] [0 1 2 3] [] []", urls, urls...)
		})
	}
}

// Goal: where URLs cannot change by reload, the key is named with the reason, and nothing changes.
func TestReloadOfURLsWaits(t *testing.T) {
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}
	for _, row := range []struct {
		before, more, why string
		next              []string
	}{
		{"on_remove: drain", "routing: failover", "routing changes with them", urls[:1]},
		{"routing: replicate", "routing: load_aware", "routing changes with them",
			[]string{urls[1], urls[0]}},
		{"on_remove: drain", "on_remove: drain", "another way to write",
			[]string{urls[0], "HTTP://127.0.0.1:2"}},
		{"routing: replicate", "routing: replicate", "spool.max has no room", []string{urls[0],
			"http://127.0.0.1:3", "http://127.0.0.1:4", "http://127.0.0.1:5"}},
	} {
		r := newURLsRig(t, row.before, urls...)
		table, order := r.sinks[0].table.Load(), r.sinks[0].order.Load()
		r.more = row.more
		r.write(row.next...)
		report, err := r.Reload()
		if err != nil {
			t.Fatal(err)
		}
		named := slices.ContainsFunc(report.Restart, func(key string) bool {
			return strings.HasPrefix(key, "sinks[0].urls")
		})
		if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], row.why) || !named ||
			len(report.URLs.Kept) != 2 || len(r.targets) != 2 {
			t.Errorf("%s: %+v", row.more, report)
		}
		if r.sinks[0].table.Load() != table || r.sinks[0].order.Load() != order {
			t.Errorf("%s: points are shared out anew", row.more)
		}
	}
}
