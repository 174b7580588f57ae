package dataplane

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// movingRig is a spooler whose URL leaves, and two heirs.
type movingRig struct {
	*spoolRig
	heirs []*spoolRig
	table atomic.Pointer[shard.Table]
}

// newMovingRig makes the rigs; change (optional) sees their configurations.
func newMovingRig(t *testing.T, change func(*spoolRig)) *movingRig {
	t.Helper()
	settings := func(one *spoolRig) {
		one.config.Tenants = []string{"a", "b"}
		if change != nil {
			change(one)
		}
	}
	r := &movingRig{}
	for range 2 {
		r.heirs = append(r.heirs, newSpoolRig(t, settings))
	}
	// The giver ends first, as a cleanup that was added last.
	r.spoolRig = newSpoolRig(t, settings)
	r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	r.tagOf = func(n int) string { return fmt.Sprintf("x%d", n%500) }
	r.deal(0)
	return r
}

// newFullHeirRig makes rigs whose heirs' servers take nothing, and whose giver shares out while the files of
// the first heir may have so many bytes.
func newFullHeirRig(t *testing.T, most int64) *movingRig {
	t.Helper()
	r := newMovingRig(t, func(heir *spoolRig) {
		heir.d.answer(func(string) int { return http.StatusServiceUnavailable })
	})
	r.sendSeries(200)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 2000 })
	r.heirs[0].spooler.Limit(most)
	r.share()
	return r
}

// deal makes the table with this weight of the giver.
func (r *movingRig) deal(weight int) {
	r.t.Helper()
	table, err := shard.NewTable([]shard.Member{
		{Name: "gone", Weight: weight}, {Name: "one", Weight: 100}, {Name: "two", Weight: 100},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.table.Store(table)
}

func (r *movingRig) share() {
	r.spooler.Turn(SpoolGive, Heirs{
		Spoolers: []*Spooler{r.spooler, r.heirs[0].spooler, r.heirs[1].spooler}, Table: &r.table,
	})
}

// sendSeries hands batches over, of the tenants in turn, whose lines are of ten series each.
func (r *movingRig) sendSeries(batches int) {
	r.t.Helper()
	for n := range batches {
		r.tenant = uint16(n % 2)
		r.send(1, "")
	}
}

// check sums all ledgers up and looks where the lines are: each at its owner, once. late (optional) are lines
// that may be at the giver's own server instead.
func (r *movingRig) check(own int) {
	r.t.Helper()
	var sum SpoolShare
	moved, adopted := uint64(0), uint64(0)
	for i, one := range append([]*spoolRig{r.spoolRig}, r.heirs...) {
		s := one.balance()
		sum.Add(&s.SpoolShare)
		moved, adopted = moved+s.Moved, adopted+s.Adopted
		var shares SpoolShare
		for j := range s.Shares {
			shares.Add(&s.Shares[j])
		}
		if shares.Moved != s.Moved || shares.Adopted != s.Adopted || shares.Pending() != s.Pending() {
			r.t.Fatalf("spooler %d: the tenants' shares %+v are not the whole %+v", i, shares, s.SpoolShare)
		}
	}
	if n := uint64(r.sent); moved != adopted || sum.Taken != n || sum.Replayed != n || sum.Pending() != 0 {
		r.t.Fatalf("%d sent: %+v", r.sent, sum)
	}
	seen := map[string]int{}
	for i, one := range append([]*spoolRig{r.spoolRig}, r.heirs...) {
		one.d.mutex.Lock()
		for line, times := range one.d.lines {
			var decoder lineproto.Decoder
			var p point.Point
			decoder.Start([]byte(line), lineproto.Nanosecond, &p)
			decoder.Next(&p)
			if owner := r.table.Load().Find(shard.Hash(&p)); i > 0 && owner != i {
				r.t.Errorf("%q is with %d, its owner is %d", line, i, owner)
			}
			seen[line] += times
		}
		if i == 0 && len(one.d.lines) != own {
			r.t.Errorf("the URL that left has %d lines, want %d", len(one.d.lines), own)
		}
		one.d.mutex.Unlock()
	}
	for line, times := range seen {
		if times != 1 {
			r.t.Errorf("%q came %d times", line, times)
		}
	}
	if len(seen) != r.sent {
		r.t.Fatalf("%d lines of %d came", len(seen), r.sent)
	}
}

func (r *movingRig) delivered() bool {
	var replayed uint64
	for _, one := range append([]*spoolRig{r.spoolRig}, r.heirs...) {
		replayed += one.spooler.State().Replayed
	}
	// What heirs have taken over is the giver's on disk until it is durable there.
	s := r.spooler.State()
	return replayed == uint64(r.sent) && s.Disk.Waiting+s.Disk.Out+s.MemoryPoints == s.Pending()
}

// Goal: what waits for a URL that leaves goes to those that own its series, on disk as well as what comes
// later, each line once; both tenants' ledgers are exact, and the files are given back.
func TestSpoolIsSharedOut(t *testing.T) {
	r := newMovingRig(t, nil)
	r.sendSeries(200)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 2000 })
	r.share()
	r.sendSeries(100)
	r.until("all is delivered", r.delivered)
	r.check(0)
	for i, heir := range r.heirs {
		if heir.d.count() < 1000 {
			t.Errorf("heir %d has %d lines of 3000", i, heir.d.count())
		}
	}
	r.until("the disk is given back", func() bool { return r.spooler.State().Disk.Segments == 0 })
}

// newFullHeirs shares out more than there is room for: servers of heirs refuse, and their spools are small.
func newFullHeirs(t *testing.T, ordered bool) *movingRig {
	t.Helper()
	r := newMovingRig(t, func(one *spoolRig) {
		one.config.Ordered = ordered
		one.d.answer(func(string) int { return http.StatusServiceUnavailable })
	})
	r.sendSeries(400)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 4000 })
	for _, heir := range r.heirs {
		heir.spooler.Limit(32 << 10)
	}
	r.share()
	r.until("heirs are full", func() bool {
		s := r.spooler.State()
		return s.Moved > 0 && s.Pending() > 0
	})
	return r
}

// Goal: heirs without room take nobody's room; what they do not take waits, and follows when they have some.
// Method: heirs whose own records fill their spools, and whose servers refuse for a while.
func TestHeirsHaveNoRoom(t *testing.T) {
	r := newFullHeirs(t, false)
	for i, heir := range r.heirs {
		if s := heir.spooler.State(); s.Dropped[DropSpoolFull] != 0 {
			t.Fatalf("heir %d lost points: %+v", i, s)
		}
	}
	for _, heir := range r.heirs {
		heir.spooler.Limit(16 << 20)
		heir.d.answer(nil)
	}
	r.until("all is delivered", r.delivered)
	r.check(0)
}

// Goal: a URL that comes back while its heirs take nothing gets what has not moved, and parts of records that
// moved in part are delivered once all the same.
func TestURLIsBackBeforeItsHeirsHaveAll(t *testing.T) {
	r := newFullHeirRig(t, 4<<10)
	r.until("one heir is full", func() bool {
		s := r.spooler.State()
		return s.Moved > 0 && r.heirs[1].spooler.State().Adopted > r.heirs[0].spooler.State().Adopted
	})
	r.spooler.Turn(SpoolDeliver, Heirs{})
	r.d.answer(nil)
	r.until("the URL that came back has something", func() bool { return r.d.count() > 0 })
	for _, one := range r.heirs {
		one.d.answer(nil)
	}
	r.heirs[0].spooler.Limit(16 << 20)
	r.until("all is delivered", r.delivered)
	r.check(r.d.count())
}

// Goal: with SpoolKeep nothing leaves, a table that knows more URLs than heirs moves nothing, and with the
// mode before all goes on.
func TestSpoolIsKept(t *testing.T) {
	r := newMovingRig(t, nil)
	r.spooler.Turn(SpoolKeep, Heirs{})
	r.sendSeries(50)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 500 })
	r.d.answer(nil)
	r.spooler.Turn(SpoolGive, Heirs{Spoolers: []*Spooler{r.spooler}, Table: &r.table})
	r.sendSeries(50)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 1000 })
	if s := r.balance(); s.Pending() != 1000 || s.Moved != 0 || r.d.count() != 0 {
		t.Fatalf("%d lines were delivered: %+v", r.d.count(), s)
	}
	r.spooler.Turn(SpoolDeliver, Heirs{})
	r.until("all is delivered", r.delivered)
	r.check(1000)
}

// Goal: a spooler that ends in the middle of it leaves what nobody has taken over on disk, and nothing that
// an heir has on his. Method: the giver ends while one heir has no room; both are looked at on disk.
func TestSharingEndsInTheMiddle(t *testing.T) {
	r := newFullHeirRig(t, 0)
	r.until("something has moved", func() bool { return r.spooler.State().Moved > 0 })
	if n := r.heirs[0].spooler.State().Adopted; n != 0 {
		t.Errorf("an heir without any room took %d points", n)
	}
	all := []*spoolRig{r.spoolRig, r.heirs[0], r.heirs[1]}
	for _, one := range all {
		if err := one.spooler.Close(); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]bool{}
	for _, one := range all {
		files, err := spool.OpenExisting(one.folder)
		if err != nil {
			t.Fatal(err)
		}
		_, err = spool.Inspect(files, func(r *spool.Record) error {
			for line := range strings.Lines(string(r.Body)) {
				found[line] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		files.Close()
	}
	if len(found) != 2000 {
		t.Fatalf("%d lines of 2000 are on disk", len(found))
	}
}

// Goal: heirs without a table are one, the first: as with failover, whose servers are as good as each other.
func TestTheFirstInOrderIsTheHeir(t *testing.T) {
	r := newMovingRig(t, nil)
	r.sendSeries(100)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 1000 })
	r.spooler.Turn(SpoolGive, Heirs{Spoolers: []*Spooler{r.heirs[1].spooler}})
	r.sendSeries(100)
	r.until("all is delivered", r.delivered)
	s := r.balance()
	if n := r.heirs[1].d.count(); n != 2000 || r.heirs[0].d.count() != 0 || s.Moved != 2000 {
		t.Fatalf("the first heir has %d lines of 2000: %+v", n, s)
	}
	r.heirs[1].balance()
}

// Goal: parts of records that an heir has no room for go to another one when that heir leaves, too, and each
// line comes once. Method: one heir is full, and then none any more.
func TestAnHeirLeavesBeforeItHasAll(t *testing.T) {
	r := newFullHeirRig(t, 4<<10)
	r.until("one heir is full", func() bool {
		return r.spooler.State().Moved > 0 &&
			r.heirs[1].spooler.State().Adopted > r.heirs[0].spooler.State().Adopted
	})
	table, err := shard.NewTable([]shard.Member{
		{Name: "gone", Weight: 0}, {Name: "one", Weight: 0}, {Name: "two", Weight: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.table.Store(table)
	r.spooler.Turn(SpoolGive, Heirs{Spoolers: []*Spooler{nil, nil, r.heirs[1].spooler}, Table: &r.table})
	r.until("nothing waits at the giver", func() bool {
		s := r.spooler.State()
		return s.Pending() == 0
	})
	for _, heir := range r.heirs {
		heir.d.answer(nil)
	}
	r.until("all is delivered", r.delivered)
	seen := map[string]int{}
	for _, one := range []*spoolRig{r.spoolRig, r.heirs[0], r.heirs[1]} {
		one.balance()
		one.d.mutex.Lock()
		for line, times := range one.d.lines {
			seen[line] += times
		}
		one.d.mutex.Unlock()
	}
	for line, times := range seen {
		if times != 1 {
			t.Errorf("%q came %d times", line, times)
		}
	}
	if len(seen) != r.sent || r.d.count() != 0 {
		t.Fatalf("%d lines of %d came, %d of them to the URL that left", len(seen), r.sent, r.d.count())
	}
}

// Goal: with an order kept no record passes an older one on its way to an heir, also where that has room for
// none, or for a short one only, for a while. Method: as with heirs that have no room; what the rigs send is
// numbered.
func TestSharingKeepsTheOrder(t *testing.T) {
	r := newFullHeirs(t, true)
	r.sendSeries(100)
	for _, heir := range r.heirs {
		heir.spooler.Limit(16 << 20)
		heir.d.answer(nil)
	}
	r.until("all is delivered", r.delivered)
	r.check(0)
	for i, heir := range r.heirs {
		last := 0
		for _, line := range heir.d.order {
			number, err := strconv.Atoi(strings.TrimSuffix(line[strings.LastIndexByte(line, ' ')+1:], "\n"))
			if err != nil || number <= last {
				t.Fatalf("heir %d has %q behind number %d", i, line, last)
			}
			last = number
		}
	}
}

// tagsOf are one tag of each heir, for all lines of a record.
func (r *movingRig) tagsOf() (tags [2]string) {
	for n := 0; tags[0] == "" || tags[1] == ""; n++ {
		tag := fmt.Sprintf("x%d", n)
		var decoder lineproto.Decoder
		var p point.Point
		decoder.Start([]byte("m,t="+tag+" v=1 1\n"), lineproto.Nanosecond, &p)
		decoder.Next(&p)
		tags[r.table.Load().Find(shard.Hash(&p))-1] = tag
	}
	return tags
}

// Goal: with an order kept the giver lets go of its records in their order, so that after a crash none comes
// again behind one that does not: not of one that an heir has on disk while the one before is on none.
// Method: an heir whose syncs wait.
func TestGiverLetsGoInOrder(t *testing.T) {
	held, rigs := newHeldFiles(), 0
	r := newMovingRig(t, func(one *spoolRig) {
		one.config.Ordered = true
		one.d.answer(func(string) int { return http.StatusServiceUnavailable })
		if rigs++; rigs == 1 {
			held.hold(one)
		}
	})
	tags := r.tagsOf()
	give := func(heir int, moved uint64) {
		r.tagOf = func(int) string { return tags[heir] }
		r.send(1, "")
		r.until("it has moved", func() bool { return r.spooler.State().Moved == moved })
	}
	free := sync.OnceFunc(func() { close(held.letGo) })
	t.Cleanup(free)
	before := r.heirs[1].spooler.State().Disk.Synced
	r.share()
	give(0, 10)
	give(1, 20)
	r.until("the second heir has it on disk", func() bool {
		return r.heirs[1].spooler.State().Disk.Synced > before
	})
	// With the answer about this one the giver looks at all others.
	give(1, 30)
	if s := r.spooler.State(); s.Disk.Acknowledged != 0 {
		t.Fatalf("%d points are let go before those of the first heir are on disk", s.Disk.Acknowledged)
	}
	free()
	r.until("all is let go", func() bool { return r.spooler.State().Disk.Acknowledged == 30 })
}
