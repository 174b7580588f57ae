package dataplane

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// crashesEnv says how many moves TestMovesOutliveCrashes interrupts, instead of a few.
const crashesEnv = "CULVERT_CRASHES"

// crashRecords is more than move in one round, crashLines how many lines each has.
const crashRecords, crashLines = giveRecords + 200, 3

// crashFolders are the spools of a URL that leaves and of its two heirs, by their place in the table.
var crashFolders = [...]string{"gone", "one", "two"}

// crashRig is a spool that is shared out among two others, over several lives.
type crashRig struct {
	t        *testing.T
	disk     *crashDisk
	table    atomic.Pointer[shard.Table]
	spoolers []*Spooler
	all      map[string]bool // lines
	ordered  bool
	began    int // how often what there is to move was begun with
}

// newCrashRig fills the giver's spool; all of it is durable.
func newCrashRig(t *testing.T, random *rand.Rand, ordered bool) *crashRig {
	t.Helper()
	r := &crashRig{t: t, disk: newCrashDisk(random), all: map[string]bool{}, ordered: ordered}
	table, err := shard.NewTable([]shard.Member{
		{Name: crashFolders[0]}, {Name: crashFolders[1], Weight: 100}, {Name: crashFolders[2], Weight: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.table.Store(table)
	log, _, err := r.disk.open(crashFolders[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range crashRecords {
		var body strings.Builder
		for j := range crashLines {
			line := fmt.Sprintf("m,host=h%d v=%d %d\n", (i+17*j)%500, i, 1+crashLines*i+j)
			r.all[line] = true
			body.WriteString(line)
		}
		record := spool.Record{Points: crashLines, Oldest: int64(1 + i), Body: []byte(body.String())}
		if _, err := log.Append(&record, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	r.disk = r.disk.after(false)
	return r
}

// open opens one of the spools.
func (d *crashDisk) open(folder string) (*spool.Log, spool.Recovery, error) {
	return spool.Open(spool.Config{Files: d.folder(folder), Label: spool.Label{Sink: "main", URL: folder},
		SegmentBytes: 32 << 10, MaxBytes: 64 << 20, Codec: spool.CodecNone})
}

// live lets the spoolers begin. Nothing is sent: heirs keep what they have.
func (r *crashRig) live() {
	r.t.Helper()
	r.spoolers, r.began = nil, r.began+1
	for _, folder := range crashFolders {
		disk := r.disk
		s, err := StartSpooler(SpoolerConfig{
			Open: func() (*spool.Log, spool.Recovery, error) { return disk.open(folder) },
			Writer: influx.Config{Host: "nowhere", Path: "/write", Connections: 1, Timeout: time.Second,
				Retry: influx.Retry{Attempts: 1, First: time.Second, Max: time.Second}},
			BatchBytes: rigBatch, Sync: time.Millisecond, MemoryBytes: 1 << 20, MemoryTTL: time.Minute,
			Ordered: r.ordered,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		s.Turn(SpoolKeep, Heirs{})
		r.spoolers = append(r.spoolers, s)
	}
	r.spoolers[0].Turn(SpoolGive, Heirs{Spoolers: r.spoolers, Table: &r.table})
}

// watch waits until all is given away, or so many operations were done, or one of them was the end, and tells
// whether that is so.
func (r *crashRig) watch(most int) (ended bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		steps, ended := r.disk.at()
		s := r.spoolers[0].State()
		if ended || steps >= most || s.Pending() == 0 && s.DiskError == "" {
			return ended
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never over: %+v", s)
		}
	}
}

// stop ends the spoolers in any order, as a gateway does; it tells whether the process ended before that.
func (r *crashRig) stop(random *rand.Rand) (ended bool) {
	r.t.Helper()
	for _, i := range random.Perm(len(r.spoolers)) {
		err := r.spoolers[i].Close()
		if _, ended := r.disk.at(); ended {
			return true
		} else if err != nil {
			r.t.Fatal(err)
		}
	}
	return false
}

// next is the next process's disk. The spoolers of the one before, which know nothing of its end, end too.
func (r *crashRig) next(power bool) {
	r.disk = r.disk.after(power)
	var all sync.WaitGroup
	for _, s := range r.spoolers {
		all.Go(func() { _ = s.Close() }) // Its disk took nothing: it says so.
	}
	all.Wait()
}

// check looks where the lines are: each with its owner, at least once, and at most once for each time that
// moving them was begun. Nothing is left behind. Where the order is kept, what was repeated is followed by
// all that came behind it: of each series the newest comes last.
func (r *crashRig) check() {
	r.t.Helper()
	seen := map[string]int{}
	for i, folder := range crashFolders {
		came := map[string][]string{} // by series
		_, err := spool.Inspect(r.disk.folder(folder), func(record *spool.Record) error {
			for line := range strings.Lines(string(record.Body)) {
				var decoder lineproto.Decoder
				var p point.Point
				decoder.Start([]byte(line), lineproto.Nanosecond, &p)
				decoder.Next(&p)
				if owner := r.table.Load().Find(shard.Hash(&p)); !r.all[line] || owner != i {
					r.t.Errorf("%q is with %q, its owner is %q", line, folder, crashFolders[owner])
				}
				seen[line]++
				series, _, _ := strings.Cut(line, " ")
				came[series] = append(came[series], line)
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
		for series, lines := range came {
			if r.ordered && !lastsAscend(lines) {
				r.t.Errorf("%q has %s in another order: %q", folder, series, lines)
			}
		}
	}
	for line := range r.all {
		if n := seen[line]; n == 0 || n > r.began {
			r.t.Errorf("%q is there %d times, moving it was begun %d times", line, n, r.began)
		}
	}
}

// lastsAscend tells whether the last occurrences of lines, which end in a timestamp, are in their order.
func lastsAscend(lines []string) bool {
	least, seen := int64(math.MaxInt64), map[string]bool{}
	for _, line := range slices.Backward(lines) {
		if seen[line] {
			continue
		}
		seen[line] = true
		fields := strings.Fields(line)
		stamp, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		if err != nil || stamp >= least {
			return false
		}
		least = stamp
	}
	return true
}

// Goal: what waits for a URL that leaves reaches the others' disks although the process is killed, the power
// fails, or the gateway stops, in the middle of it, and again in the middle of going on with it: no point is
// lost, none is with another than its owner, and each is repeated once for each time at most; without an
// interruption it is there once. Method: spoolers over a disk that ends at one of its operations, which are
// those of a move, chosen at random or from the last, where the giver lets go of its records; with an order
// kept and without.
func TestMovesOutliveCrashes(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered %t", ordered), func(t *testing.T) { movesOutliveCrashes(t, ordered) })
	}
}

func movesOutliveCrashes(t *testing.T, ordered bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(5, 1))
	r := newCrashRig(t, random, ordered)
	r.live()
	r.watch(1 << 30)
	if r.stop(random) {
		t.Fatal("the process ended by itself")
	}
	operations, _ := r.disk.at()
	r.check()

	moves, err := strconv.Atoi(os.Getenv(crashesEnv))
	if err != nil {
		moves = 9
	}
	if testing.Short() {
		moves = 3
	}
	repeated := 0
	for n := range moves {
		seed := random.Uint64()
		r := newCrashRig(t, rand.New(rand.NewPCG(seed, 1)), ordered)
		chosen := rand.New(rand.NewPCG(seed, 2))
		at := 1 + chosen.IntN(operations)
		if n%2 == 0 {
			at = operations - chosen.IntN(operations/50)
		}
		power := n%3 == 1
		if n%3 < 2 {
			r.disk.ends = at
		}
		r.live()
		if r.watch(at) || r.stop(chosen) {
			r.next(power)
		} else {
			r.disk = r.disk.after(false)
		}
		// Going on with it is interrupted as well, if it comes to that.
		r.disk.ends = 1 + chosen.IntN(operations/2)
		r.live()
		if r.watch(1<<30) || r.stop(chosen) {
			r.next(power)
		} else {
			r.disk = r.disk.after(false)
		}
		r.live()
		r.watch(1 << 30)
		if r.stop(chosen) {
			t.Fatal("the process ended by itself")
		}
		r.check()
		repeated += r.points() - len(r.all)
		if t.Failed() {
			t.Fatalf("move %d, operation %d of %d, seed %d", n, at, operations, seed)
		}
	}
	t.Logf("%d moves of %d points were interrupted twice: %d points are repeated", moves,
		crashRecords*crashLines, repeated)
}

// points are how many the heirs have.
func (r *crashRig) points() (n int) {
	r.t.Helper()
	for _, folder := range crashFolders {
		surveys, err := spool.Inspect(r.disk.folder(folder), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range surveys {
			n += surveys[i].WaitingPoints
		}
	}
	return n
}
