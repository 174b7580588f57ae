package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// urlKillsEnv says how often TestPrivKilledWhileAURLLeaves kills the gateway, instead of twice.
const urlKillsEnv = "CULVERT_URL_KILLS"

// Goal: a gateway that is killed while what waits for a server moves to the others, since a reload takes the
// server out, loses none of it, and repeats each point once for each kill at most; with order: series what is
// repeated is followed by all that came behind it. Method: points for three servers that refuse all; lives
// that begin with the three, reload without the second, and are killed at random moments behind that; and one
// that begins without it, to which its servers are back. What is in memory when a gateway is killed is lost,
// so that all points are on disk before the first.
func TestPrivKilledWhileAURLLeaves(t *testing.T) {
	need(t)
	for _, onRemove := range []string{"rehash", "rehash, order: series"} {
		t.Run(strings.ReplaceAll(onRemove, ", ", " "), func(t *testing.T) {
			killedWhileAURLLeaves(t, onRemove)
		})
	}
}

func killedWhileAURLLeaves(t *testing.T, onRemove string) {
	t.Helper()
	kills, err := strconv.Atoi(os.Getenv(urlKillsEnv))
	if err != nil {
		kills = 2
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	m := newMovingURLs(t, 3)
	for i := range m.away {
		m.away[i].Store(true)
	}
	m.gateway = start(t, m.lab, "run", "-c", m.configure(t, onRemove, 0, 1, 2))
	m.ready()
	end := m.send(t)
	m.more(t, testenv.Sized[int64](25, 8)*urlSeries)
	end()
	sent := uint64(m.sent[0].Load() + m.sent[1].Load())
	m.settled(sent)
	eventually(t, "all points are on disk", func() error {
		s, err := m.status()
		if err != nil {
			return err
		}
		onDisk := uint64(0)
		for i := range s.Sinks {
			onDisk += s.Sinks[i].Spool.DiskPoints
		}
		if onDisk != sent {
			return fmt.Errorf("%d of %d", onDisk, sent)
		}
		return nil
	})
	for range kills {
		m.configure(t, onRemove, 0, 2)
		if err := m.command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(40_000)) * time.Microsecond)
		m.kill()
		m.gateway = start(t, m.lab, "run", "-c", m.configure(t, onRemove, 0, 1, 2))
		m.ready()
	}
	m.kill()
	m.gateway = start(t, m.lab, "run", "-c", m.configure(t, onRemove, 0, 2))
	m.ready()
	for i := range m.away {
		m.away[i].Store(false)
	}
	s := m.emptied(0)
	if l := &s.Ledger; l.Residue != 0 || l.Written != l.Restored || len(l.Dropped) > 0 {
		t.Errorf("%+v", l)
	}
	if code := m.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	seen, repeated := map[string]int{}, 0
	for i, r := range m.servers {
		stamps := map[string][]int64{}
		for _, line := range r.all() {
			if strings.HasPrefix(line, "#") {
				continue // A breaker tried whether the server is back.
			}
			if i == 1 {
				t.Fatalf("the server that left has %q", line)
			}
			if seen[line]++; seen[line] > 1 {
				repeated++
			}
			fields := strings.Fields(line)
			stamp, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			// The last time counts.
			came := slices.DeleteFunc(stamps[fields[0]], func(one int64) bool { return one == stamp })
			stamps[fields[0]] = append(came, stamp)
		}
		if strings.Contains(onRemove, "series") {
			inOrder(t, []map[string][]int64{stamps})
		}
	}
	most := 0
	for _, times := range seen {
		most = max(most, times)
	}
	if uint64(len(seen)) != sent || most > 1+kills {
		t.Errorf("%d points of %d came, one of them %d times after %d kills", len(seen), sent, most, kills)
	}
	t.Logf("%d points, %d of them repeated by %d kills", sent, repeated, kills)
}
