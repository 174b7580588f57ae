package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// movingURLs is a gateway whose URLs come and go while two tenants send.
type movingURLs struct {
	*gateway
	lab     *testenv.Lab
	servers []*recorder
	away    []atomic.Bool // the server refuses
	dir     string
	sent    [2]atomic.Int64 // by tenant
}

// urlSeries is how many series each tenant has.
const urlSeries = 200

func newMovingURLs(t *testing.T, servers int) *movingURLs {
	t.Helper()
	m := &movingURLs{lab: testenv.NewLab(t, 2), dir: t.TempDir(), away: make([]atomic.Bool, servers)}
	for i := range servers {
		r := newRecorder(t, m.lab)
		r.refuse = func(w http.ResponseWriter) bool {
			if m.away[i].Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}
		m.servers = append(m.servers, r)
	}
	return m
}

// configure writes the file with these servers and returns its path.
func (m *movingURLs) configure(t *testing.T, onRemove string, servers ...int) string {
	t.Helper()
	var urls []string
	for _, i := range servers {
		urls = append(urls, m.servers[i].url)
	}
	return write(t, m.dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}, {name: hall, port: %d}]
tenants: [{name: a, listeners: [plant]}, {name: b, listeners: [hall]}]
workers: {frames: 1024}
sinks:
  - {name: main, urls: [%s], database: telemetry, batch: {bytes: 64KiB}, on_remove: %s,
     retry: {attempts: 2, first: 5ms, max: 50ms}}
spool: {dir: %s, segment: 1MiB, max: 64MiB, sync: 20ms}
`, m.lab.GatewayInterface, port, port+1, strings.Join(urls, ", "), onRemove, filepath.Join(m.dir, "spool")))
}

// send sends for both tenants until the function that it returns is called. CULVERT_URLS_PAUSE is the time
// between two packets of a tenant, 2ms unless it is set.
func (m *movingURLs) send(t *testing.T) (end func()) {
	t.Helper()
	pause, err := time.ParseDuration(os.Getenv("CULVERT_URLS_PAUSE"))
	if err != nil {
		pause = 2 * time.Millisecond
	}
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for tenant := range m.sent {
		conn := udpSenderTo(t, m.lab, m.lab.GatewayIPv4, port+tenant)
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(pause):
				}
				var packet []byte
				for range 10 {
					n := m.sent[tenant].Add(1)
					packet = fmt.Appendf(packet, "m,tenant=%d,host=h%d v=1 %d\n", tenant, n%urlSeries, n)
				}
				if _, err := conn.Write(packet); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		close(stop)
		senders.Wait()
	}
}

// change reloads with these servers and checks what the command says of them.
func (m *movingURLs) change(t *testing.T, onRemove, want string, servers ...int) {
	t.Helper()
	m.configure(t, onRemove, servers...)
	code, out := m.reload()
	if code != 0 || !strings.Contains(out, want) || strings.Contains(out, "warning") ||
		strings.Contains(out, "not yet") {
		t.Fatalf("exit code %d, want %q in: %s", code, want, out)
	}
}

// returns is change for a server that left in order: it waits until the others have all that waited for it.
func (m *movingURLs) returns(t *testing.T, onRemove, want string, servers ...int) {
	t.Helper()
	m.configure(t, onRemove, servers...)
	eventually(t, "the server may come back", func() error {
		code, out := m.reload()
		if code != 0 || !strings.Contains(out, want) {
			return fmt.Errorf("exit code %d, want %q in: %s", code, want, out)
		}
		return nil
	})
}

// inOrder checks that no point of a series came to a server behind a newer one.
func inOrder(t *testing.T, stamps []map[string][]int64) {
	t.Helper()
	for i, one := range stamps {
		for series, came := range one {
			if !slices.IsSorted(came) {
				t.Errorf("server %d has %s in another order: %d", i, series, came)
			}
		}
	}
}

// more waits until so many more points of each tenant were sent.
func (m *movingURLs) more(t *testing.T, points int64) {
	t.Helper()
	for i := range m.sent {
		from := m.sent[i].Load()
		eventually(t, "points are sent", func() error {
			if n := m.sent[i].Load() - from; n < points {
				return fmt.Errorf("%d of %d", n, points)
			}
			return nil
		})
	}
}

// waitsAt waits until points wait for a server.
func (m *movingURLs) waitsAt(t *testing.T, server int) {
	t.Helper()
	eventually(t, "points wait for the server that is away", func() error {
		s, err := m.status()
		if err == nil && s.Sinks[server].Points.SpoolPending == 0 {
			err = fmt.Errorf("%+v", s.Sinks[server])
		}
		return err
	})
}

// settledAll waits until all that was sent is delivered, checks every ledger, and that each point came once.
// It returns the status and, by server, the stamps of each series there.
func (m *movingURLs) settledAll(t *testing.T) (*telemetry.Status, []map[string][]int64) {
	t.Helper()
	s := m.emptied(uint64(m.sent[0].Load() + m.sent[1].Load()))
	for i := range m.sent {
		l := &tenantOf(t, s, string(rune('a'+i))).Ledger
		if n := uint64(m.sent[i].Load()); l.Residue != 0 || l.Received != n || l.Written != n {
			t.Errorf("tenant %d sent %d: %+v", i, n, l)
		}
	}
	if l := &s.Ledger; l.Residue != 0 || l.Written != l.Received || len(l.Dropped) > 0 {
		t.Errorf("%+v", l)
	}
	for i := range s.Sinks {
		if s.Sinks[i].Points.Residue != 0 {
			t.Errorf("%+v", s.Sinks[i])
		}
	}
	seen, stamps := map[string]int{}, make([]map[string][]int64, len(m.servers))
	for i, r := range m.servers {
		stamps[i] = map[string][]int64{}
		for _, line := range r.all() {
			if strings.HasPrefix(line, "#") {
				continue // A breaker tried whether the server is back.
			}
			if seen[line]++; seen[line] == 2 {
				t.Errorf("%q came twice", line)
			}
			fields := strings.Fields(line)
			stamp, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			stamps[i][fields[0]] = append(stamps[i][fields[0]], stamp)
		}
	}
	if uint64(len(seen)) != s.Ledger.Received {
		t.Errorf("%d points of %d came", len(seen), s.Ledger.Received)
	}
	return s, stamps
}

// Goal: a server that was never there comes by a reload while points stream in: it gets its share of the
// series, those of the others stay, and no point is lost or comes twice; it is in status and metrics like any
// other. Method: four servers, then a fifth, for two tenants over two queues.
func TestPrivURLComesByReload(t *testing.T) {
	need(t)
	m := newMovingURLs(t, 5)
	m.gateway = start(t, m.lab, "run", "-c", m.configure(t, "drain", 0, 1, 2, 3))
	m.ready()
	end := m.send(t)
	m.more(t, 2*urlSeries)
	m.change(t, "drain", "urls       1 added, 0 changed, 0 removed, 4 kept", 0, 1, 2, 3, 4)
	m.more(t, 2*urlSeries)
	end()
	s, stamps := m.settledAll(t)
	if len(s.Sinks) != 5 || !s.Sinks[4].Up || s.Sinks[4].Connections == 0 || s.Sinks[4].Points.Written == 0 {
		t.Errorf("%+v", s.Sinks)
	}
	m.exposes(fmt.Sprintf("culvert_sink_up{sink=\"main\",url=%q} 1", m.servers[4].url))
	for series := range stamps[4] {
		others := 0
		for _, one := range stamps[:4] {
			if len(one[series]) > 0 {
				others++
			}
		}
		if others != 1 {
			t.Errorf("%s was with %d servers before the new one", series, others)
		}
	}
	for i, one := range stamps[:4] {
		for series := range one {
			for j := range i {
				if len(stamps[j][series]) > 0 {
					t.Errorf("%s moved between servers %d and %d", series, j, i)
				}
			}
		}
	}
	// A fifth of 400, 80, give or take four standard deviations.
	if n := len(stamps[4]); n < 48 || n > 112 {
		t.Errorf("the new server has %d of %d series", n, 2*urlSeries)
	}
}

// Goal: while points stream in, what waits for a server that a reload takes out goes to the others, with
// rehash, or stays for its return, with keep; each point comes once and the ledgers are exact, the tenants'
// too. With order: series each server has the points of each series in their order. Method: a server that
// refuses, is taken out, and comes back.
func TestPrivURLLeavesByReload(t *testing.T) {
	need(t)
	for _, onRemove := range []string{"rehash", "keep", "rehash, order: series"} {
		t.Run(strings.ReplaceAll(onRemove, ", ", " "), func(t *testing.T) {
			ordered := strings.Contains(onRemove, "series")
			m := newMovingURLs(t, 3)
			m.gateway = start(t, m.lab, "run", "-c", m.configure(t, onRemove, 0, 1, 2))
			m.ready()
			end := m.send(t)
			m.more(t, urlSeries)
			m.away[1].Store(true)
			m.waitsAt(t, 1)
			m.change(t, onRemove, "urls       0 added, 0 changed, 1 removed, 2 kept", 0, 2)
			eventually(t, "its connections are closed", func() error {
				s, err := m.status()
				if err == nil && s.Sinks[1].Connections > 0 {
					err = fmt.Errorf("%+v", s.Sinks[1])
				}
				return err
			})
			m.more(t, urlSeries)
			m.away[1].Store(false) // Now it would take what comes.
			before := len(m.servers[1].all())
			m.more(t, urlSeries)
			if onRemove != "keep" {
				eventually(t, "nothing waits for the server that left", func() error {
					s, err := m.status()
					if err == nil && s.Sinks[1].Points.SpoolPending+s.Sinks[1].Points.InFlight > 0 {
						err = fmt.Errorf("%+v", s.Sinks[1])
					}
					return err
				})
			} else {
				m.waitsAt(t, 1)
			}
			if n := len(m.servers[1].all()); n != before {
				t.Errorf("the server that left got %d points", n-before)
			}
			if back := "urls       1 added, 0 changed, 0 removed, 2 kept"; ordered {
				m.returns(t, onRemove, back, 0, 1, 2)
			} else {
				m.change(t, onRemove, back, 0, 1, 2)
			}
			m.more(t, urlSeries)
			end()
			s, stamps := m.settledAll(t)
			if ordered {
				inOrder(t, stamps)
			}
			gone := &s.Sinks[1]
			if moved := gone.Spool.Moved; (moved > 0) != (onRemove != "keep") ||
				moved != s.Sinks[0].Spool.Adopted+s.Sinks[2].Spool.Adopted {
				t.Errorf("%+v", gone)
			}
			if !gone.Up || len(m.servers[1].all()) == before {
				t.Errorf("the server that came back has nothing: %+v", gone)
			}
		})
	}
}
