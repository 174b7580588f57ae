package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
)

// rulesOf compiles alerts of one group: name, expression, name, expression…
func rulesOf(t *testing.T, texts ...string) *rules.Set {
	t.Helper()
	text := func(s string) rules.Text { return rules.Text{Source: s} }
	g := rules.Group{Name: text("g")}
	for i := 0; i < len(texts); i += 2 {
		g.Rules = append(g.Rules, rules.Rule{Alert: text(texts[i]), On: []rules.Text{text("m")},
			Expr: text(texts[i+1]), HasBy: true, By: []rules.Text{text("k")}})
	}
	set, wrong := rules.Compile([]rules.Group{g})
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	return set
}

// cameIn is how many points workers took.
func cameIn(all []*Worker) (n uint64) {
	for _, w := range all {
		c := w.Counters()
		n += c.PointsIn()
	}
	return n
}

// Goal: rules are replaced again and again under load, and no point is lost, no alert of a rule that stays is
// told twice or ended, no past forgotten. Method: two workers get points by a socket each while rules come
// and go. Points of shared keys, all of which make an alert true, come to both; those of a worker's own keys,
// half of which the other one owns, carry numbers, and a rule that looks at the last one watches for gaps.
func TestReloadUnderLoad(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	const workers, keys, reloads, points = 2, 50, 40, 20_000
	sets := []*rules.Set{
		rulesOf(t, "Kept", "x > 0", "Gap", "delta(n) != 1", "Goes", "delta(n) == 1"),
		rulesOf(t, "Other", "avg(x[1s]) > 5", "Kept", "x > 0", "Another", "y > 1", "Gap", "delta(n) != 1"),
	}
	exchange, err := NewExchange(workers)
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	var all []*Worker
	var conns []net.Conn
	var alerts []*Alerts
	for i := range workers {
		c := workerConfig(t, server.URL, true)
		a, err := NewAlerts()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		c.Index, c.Name, c.Exchange, c.Alerts = i, strconv.Itoa(i), exchange, a
		c.Samples = spsc.New[Sample](SampleSlots)
		c.Rules = sets[0]
		c.RuleState = rules.Config{Worker: i, Workers: workers, Owners: workers, Seed: [2]uint64{1, 2},
			KeysMax: 1000}
		w, err := Start(c)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		_, conn := openDoorOn(t, w)
		all, conns, alerts = append(all, w), append(conns, conn), append(alerts, a)
	}
	told := map[string]int{}
	carry := func() {
		for _, a := range alerts {
			for tr := a.Ring.Peek(); tr != nil; tr = a.Ring.Peek() {
				for _, set := range sets {
					if alert := set.Render(tr); alert.Rule != "" {
						told[alert.Rule+" "+alert.State+" "+alert.Reason]++
						break
					}
				}
				a.Ring.Release()
			}
		}
	}
	var sent atomic.Uint64
	var senders sync.WaitGroup
	for i, conn := range conns {
		senders.Go(func() {
			for n := range points {
				if n%2 == 0 {
					fmt.Fprintf(conn, "m,k=shared%d x=%d", n/2%keys, n%9+1)
				} else {
					fmt.Fprintf(conn, "m,k=%d.%d n=%d", i, n/2%keys, n/2/keys)
				}
				// At most some hundred wait in the socket, so that it loses none.
				for sent.Add(1); sent.Load()-cameIn(all) > 300; {
					time.Sleep(100 * time.Microsecond)
				}
			}
		})
	}
	var pause time.Duration
	for i := range reloads {
		done, err := ReloadRules(all, sets[(i+1)%2], nil)
		if err != nil {
			t.Fatal(err)
		}
		pause = max(pause, done.Pause)
		carry()
	}
	senders.Wait()
	for _, w := range all {
		if err := w.Drain(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	carry()
	if in := cameIn(all); in != workers*points {
		t.Errorf("%d points came in, want %d", in, workers*points)
	}
	if told["Kept firing "] != keys || told["Kept ok "]+told["Kept ok reloaded"] != 0 {
		t.Errorf("told %v, want each of %d keys of Kept firing once", told, keys)
	}
	if told["Gap firing "] != 0 || told["Goes firing "] < workers*keys {
		t.Errorf("told %v, want no Gap, and Goes firing for each of %d keys", told, workers*keys)
	}
	t.Logf("the longest pause was %v; told %v", pause, told)
}

// Goal: a worker that shows no life refuses a reload for all, and the next one works.
func TestReloadIsCalledOff(t *testing.T) {
	set := rulesOf(t, "A", "x > 0")
	reload := &ruleReload{next: set, workers: make([]ruleChange, 2)}
	w := &Worker{reload: reload}
	reload.gathered.Add(1)
	if w.reloadRules(); w.reload == nil {
		t.Fatal("the reload begins before all workers have heard of it")
	}
	if !reload.callOff() {
		t.Fatal("a reload that not all have heard of cannot be called off")
	}
	if reload.gathered.Add(1) > 0 {
		t.Fatal("a worker that comes too late begins")
	}
	if w.reloadRules(); w.reload != nil {
		t.Fatal("the reload that was called off still waits")
	}
	worker, err := Start(workerConfig(t, "http://127.0.0.1:9", true))
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	if _, err := ReloadRules([]*Worker{worker}, set, nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a worker without rules gives %v", err)
	}
}

// Goal: no worker goes on from a step before all have come to it, whether it spins or sleeps meanwhile.
// Method: more workers than CPUs count themselves at each of many steps, some of them late.
func TestWorkersMeet(t *testing.T) {
	const workers, rounds = 5, 3000
	exchange, err := NewExchange(workers)
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	s := steps{count: workers}
	var came [rounds]atomic.Int32
	var all sync.WaitGroup
	for i := range workers {
		w := &Worker{links: exchange, waker: exchange.wakers[i]}
		all.Go(func() {
			for round := range came {
				if round%500 == 100*i {
					time.Sleep(time.Millisecond) // The others have fallen asleep by then.
				}
				came[round].Add(1)
				w.together(&s, func() {})
				if n := came[round].Load(); n != workers {
					t.Errorf("%d of %d have come to step %d when worker %d goes on", n, workers, round, i)
					return
				}
			}
		})
	}
	all.Wait()
}
