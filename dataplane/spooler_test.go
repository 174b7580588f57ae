package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
)

// lineServer is a server that keeps the lines it takes, and can be told to refuse.
type lineServer struct {
	server *httptest.Server
	mutex  sync.Mutex
	lines  map[string]int
	order  []string
	refuse func(body string) int // (optional) the answer instead of 204
	wanted string                // (optional) the Authorization that it takes
}

func newLineServer(t testing.TB) *lineServer {
	d := &lineServer{lines: map[string]int{}}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		d.mutex.Lock()
		defer d.mutex.Unlock()
		if d.wanted != "" && r.Header.Get("Authorization") != d.wanted {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if err != nil {
			return
		}
		if d.refuse != nil {
			if code := d.refuse(string(body)); code != 0 {
				w.WriteHeader(code)
				return
			}
		}
		for line := range strings.Lines(string(body)) {
			if d.lines[line]++; d.lines[line] == 1 {
				d.order = append(d.order, line)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(d.server.Close)
	return d
}

func (d *lineServer) answer(refuse func(string) int) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.refuse = refuse
}

func (d *lineServer) token(wanted string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.wanted = wanted
}

func (d *lineServer) count() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.lines)
}

// spoolRig is a spooler, and a worker's side of its port.
type spoolRig struct {
	t       testing.TB
	d       *lineServer
	folder  string
	port    *SpoolPort
	pool    *influx.Pool
	writer  *influx.Writer
	spooler *Spooler
	sent    int
	config  SpoolerConfig
	stamp   func(n int) int64  // (optional) the timestamp of line n
	tenant  uint16             // of what is sent
	tagOf   func(n int) string // (optional) the tag of line n
}

const rigBatch = 8 << 10

// newSpoolRig makes a rig whose server takes everything; change (optional) sees the configuration.
func newSpoolRig(t testing.TB, change func(*spoolRig)) *spoolRig {
	t.Helper()
	r := &spoolRig{t: t, d: newLineServer(t), folder: t.TempDir()}
	exchange, err := NewExchange(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(exchange.Close)
	r.port = NewSpoolPort(exchange, 0, 16)
	address := netip.MustParseAddrPort(r.d.server.Listener.Addr().String())
	target := influx.Config{
		Address: address, Host: address.String(), Path: "/write?db=x", Connections: 1,
		Timeout: 5 * time.Second,
		Retry:   influx.Retry{Attempts: 2, First: time.Millisecond, Max: 2 * time.Millisecond},
	}
	r.config = SpoolerConfig{
		Open: func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(r.folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			return spool.Open(spool.Config{
				Files: files, SegmentBytes: 64 << 10, MaxBytes: 16 << 20, Codec: spool.CodecSnappy,
				Tenants: r.config.Tenants,
			})
		},
		Writer: target, BatchBytes: rigBatch, Sync: time.Millisecond, MemoryBytes: 1 << 20,
		MemoryTTL: time.Minute, Ports: []*SpoolPort{r.port},
	}
	if change != nil {
		change(r)
	}
	r.openWorker(target)
	r.start()
	return r
}

// openWorker makes the worker's writer: one that sets everything aside.
func (r *spoolRig) openWorker(target influx.Config) {
	batches, err := memoryOf(16 * rigBatch)
	if err != nil {
		r.t.Fatal(err)
	}
	heads, err := memoryOf(influx.MemorySize(target))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { batches.Close(); heads.Close() })
	if r.pool, err = influx.NewPool(batches.Bytes(), rigBatch); err != nil {
		r.t.Fatal(err)
	}
	target.Pool, target.Memory, target.Aside, target.Address = r.pool, heads.Bytes(), true, netip.AddrPort{}
	if r.writer, err = influx.NewWriter(target); err != nil {
		r.t.Fatal(err)
	}
	r.writer.Shut(0)
}

func (r *spoolRig) start() {
	r.t.Helper()
	var err error
	if r.spooler, err = StartSpooler(r.config); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.spooler.Close() })
}

// send hands batches of ten lines over, each line once in this test.
func (r *spoolRig) send(batches int, tag string) {
	r.t.Helper()
	for range batches {
		var b *influx.Batch
		r.until("a batch comes back", func() bool {
			for back, ok := r.port.pop(); ok; back, ok = r.port.pop() {
				r.pool.Release(back.batch)
			}
			b = r.pool.Take()
			return b != nil
		})
		body := b.Body()
		for range 10 {
			r.sent++
			stamp := int64(r.sent)
			if r.stamp != nil {
				stamp = r.stamp(r.sent)
			}
			if r.tagOf != nil {
				tag = r.tagOf(r.sent)
			}
			body = fmt.Appendf(body, "m,t=%s v=%d %d\n", tag, r.sent, stamp)
		}
		b.Extend(body, 10, 1)
		b.Seal(1)
		r.writer.Submit(b, 1)
		outcome, ok := r.writer.Outcome()
		if !ok || outcome.Aside != 10 {
			r.t.Fatalf("the batch did not step aside: %+v", outcome)
		}
		r.port.push(spoolItem{
			batch: outcome.Batch, oldest: time.Now().UnixNano(), number: uint64(r.sent), points: 10,
			tenant: r.tenant,
		})
	}
}

// until waits for what happens on the spooler's thread.
func (r *spoolRig) until(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s: %+v", what, r.spooler.State())
		}
		time.Sleep(time.Millisecond)
	}
}

// balance checks the spooler's ledger against where the points are.
func (r *spoolRig) balance() SpoolerState {
	r.t.Helper()
	s := r.spooler.State()
	if held := s.Disk.Waiting + s.Disk.Out + s.MemoryPoints; s.Pending() != held {
		r.t.Fatalf("%d points are pending, %d are held: %+v", s.Pending(), held, s)
	}
	return s
}

// What is handed over is delivered, oldest first and once, its memory comes back, and the disk too.
func TestSpoolerDelivers(t *testing.T) {
	r := newSpoolRig(t, nil)
	r.send(100, "a")
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 1000 })
	r.until("the disk is given back", func() bool { return r.spooler.State().Disk.Segments == 0 })
	s := r.balance()
	if s.Pending() != 0 || s.Taken != 1000 || r.d.count() != 1000 {
		t.Fatalf("%d lines in the database, %+v", r.d.count(), s)
	}
	r.d.mutex.Lock()
	defer r.d.mutex.Unlock()
	for line, n := range r.d.lines {
		if n != 1 {
			t.Fatalf("%q was written %d times", line, n)
		}
	}
}

// heldFiles are a directory whose syncs wait until they are let go.
type heldFiles struct {
	spool.Files
	syncs chan struct{} // takes one for each sync that has begun
	letGo chan struct{} // closed: they go on
}

func newHeldFiles() *heldFiles {
	return &heldFiles{syncs: make(chan struct{}, 1), letGo: make(chan struct{})}
}

// hold makes them a rig's disk.
func (f *heldFiles) hold(r *spoolRig) {
	r.config.Open = func() (*spool.Log, spool.Recovery, error) {
		files, err := spool.OpenDirectory(r.folder)
		if err != nil {
			return nil, spool.Recovery{}, err
		}
		c := spool.Config{Files: files, SegmentBytes: 64 << 10, MaxBytes: 16 << 20, Tenants: r.config.Tenants}
		// The position is made before any sync is held.
		log, _, err := spool.Open(c)
		if err == nil {
			err = log.Close()
		}
		if err != nil {
			return nil, spool.Recovery{}, err
		}
		if f.Files, err = spool.OpenDirectory(r.folder); err != nil {
			return nil, spool.Recovery{}, err
		}
		c.Files = f
		return spool.Open(c)
	}
}

func (f *heldFiles) Create(name string) (spool.File, error) {
	file, err := f.Files.Create(name)
	if err != nil {
		return nil, err
	}
	return heldFile{file, f}, nil
}

type heldFile struct {
	spool.File
	of *heldFiles
}

func (f heldFile) Sync() error {
	select {
	case f.of.syncs <- struct{}{}:
	default:
	}
	<-f.of.letGo
	return f.File.Sync()
}

// A disk that takes its time for a sync holds nobody up: batches come back and what waits is delivered
// meanwhile. Both go on behind it.
func TestSlowSyncHoldsNobodyUp(t *testing.T) {
	held := newHeldFiles()
	r := newSpoolRig(t, held.hold)
	r.send(1, "a")
	<-held.syncs
	r.send(100, "b") // the rig has 16 batches, and several segments come to their end
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 1010 })
	if s := r.balance(); s.Disk.Synced != 0 || s.Disk.Appended != 1010 {
		t.Fatalf("a sync has ended that is held: %+v", s)
	}
	close(held.letGo)
	r.until("the disk is given back", func() bool {
		s := r.spooler.State()
		return s.Disk.Synced > 0 && s.Disk.Segments == 0
	})
	if err := r.spooler.Close(); err != nil {
		t.Fatal(err)
	}
}

// A server that is away costs nothing but time: when it is back everything comes, in order.
func TestSpoolerOutlivesAnOutage(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) { r.config.Ordered = true })
	r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	r.send(200, "a")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 2000 })
	if s := r.spooler.State(); s.Replayed != 0 || s.Pending() != 2000 {
		t.Fatalf("during the outage: %+v", s)
	}
	r.d.answer(nil)
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 2000 })
	if s := r.balance(); r.d.count() != 2000 || s.Pending() != 0 {
		t.Fatalf("%d lines, %+v", r.d.count(), s)
	}
	r.d.mutex.Lock()
	defer r.d.mutex.Unlock()
	for i, line := range r.d.order {
		if want := fmt.Sprintf("m,t=a v=%d %d\n", i+1, i+1); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}

// What waits under a token that the server refuses is delivered with the next one.
func TestSpoolerTakesAnotherToken(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) { r.config.Writer.Authorization = "Token old-and-long" })
	r.d.token("Token new")
	r.send(5, "a")
	r.until("the server refuses", func() bool { return r.spooler.State().ReplayError != "" })
	r.spooler.Reauthorize("Token new")
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 50 })
	r.balance()
}

// What waits when the spooler ends is restored by the next.
func TestSpoolerRestores(t *testing.T) {
	r := newSpoolRig(t, nil)
	r.d.answer(func(string) int { return http.StatusUnauthorized })
	r.send(50, "a")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 500 })
	if err := r.spooler.Close(); err != nil {
		t.Fatal(err)
	}
	if s := r.spooler.State(); s.Pending() != 500 || s.Dropped[DropUndelivered] != 0 {
		t.Fatalf("at the end: %+v", s)
	}
	r.d.answer(nil)
	r.start()
	if s := r.spooler.State(); s.Restored != 500 {
		t.Fatalf("at the next start: %+v", s)
	}
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 500 })
	if s := r.balance(); r.d.count() != 500 || s.Pending() != 0 {
		t.Fatalf("%d lines, %+v", r.d.count(), s)
	}
}

// A record that the server never takes lets all others pass.
func TestPoisonStepsAside(t *testing.T) {
	r := newSpoolRig(t, nil)
	r.d.answer(func(body string) int {
		if strings.Contains(body, "poison") {
			return http.StatusInternalServerError
		}
		return 0
	})
	r.send(2, "a")
	r.send(1, "poison")
	r.send(30, "b")
	r.until("all others are delivered", func() bool { return r.spooler.State().Replayed == 320 })
	if s := r.spooler.State(); s.Pending() != 10 || s.Taken != 330 {
		t.Fatalf("%+v", s)
	}
	r.d.answer(nil)
	r.until("the server has taken it after all", func() bool { return r.spooler.State().Replayed == 330 })
	r.balance()
}

// Points that the server refuses for good are rejected, and not sent for ever.
func TestSpoolerCountsRejected(t *testing.T) {
	r := newSpoolRig(t, nil)
	r.d.answer(func(body string) int {
		if strings.Contains(body, "v=7 ") {
			return http.StatusBadRequest
		}
		return 0
	})
	r.send(3, "a")
	r.until("all is settled", func() bool {
		s := r.spooler.State()
		return s.Taken == 30 && s.Pending() == 0
	})
	if s := r.balance(); s.Replayed != 29 || s.Rejected[SinkRefused] != 1 || r.d.count() != 29 {
		t.Fatalf("%d lines, %+v", r.d.count(), s)
	}
}

// While the disk takes nothing, memory keeps what it can; the rest is dropped and told. When the disk is
// back, what is in memory goes there.
func TestMemoryKeepsWhatTheDiskRefuses(t *testing.T) {
	broken := errors.New("no such luck")
	r := newSpoolRig(t, func(r *spoolRig) {
		open := r.config.Open
		first := true
		r.config.Open = func() (*spool.Log, spool.Recovery, error) {
			if first {
				first = false
				return nil, spool.Recovery{}, broken
			}
			return open()
		}
		r.config.MemoryBytes = 2000
	})
	r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	r.send(30, "a")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 300 })
	s := r.balance()
	if s.MemoryPoints == 0 || s.MemoryPoints+s.Dropped[DropSpoolFull] != 300 || s.MemoryBytes > 2000 ||
		!strings.Contains(s.DiskError, "no such luck") {
		t.Fatalf("%+v", s)
	}
	r.d.answer(nil)
	r.until("what was kept is delivered", func() bool { s := r.spooler.State(); return s.Pending() == 0 })
	if now := r.balance(); now.Replayed != s.MemoryPoints || r.d.count() != int(s.MemoryPoints) {
		t.Fatalf("%d lines, %+v", r.d.count(), now)
	}
}

// What gets too old in memory is dropped and told.
func TestMemoryExpires(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) {
		r.config.Open = func() (*spool.Log, spool.Recovery, error) {
			return nil, spool.Recovery{}, os.ErrPermission
		}
		r.config.MemoryTTL = time.Nanosecond
	})
	r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	r.send(5, "a")
	r.until("all is dropped", func() bool { return r.spooler.State().Dropped[DropTTL] == 50 })
	r.balance()
}

// A record from a time when batches were longer is delivered too.
func TestLongRecordIsReplayed(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) {
		log, _, err := r.config.Open()
		if err != nil {
			r.t.Fatal(err)
		}
		body := bytes.Repeat([]byte("m v=1 1\n"), 3*rigBatch/8)
		body = append(body, "last v=1 1\n"...)
		record := spool.Record{Body: body, Points: 3*rigBatch/8 + 1}
		if _, err := log.Append(&record, false); err != nil {
			r.t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			r.t.Fatal(err)
		}
	})
	r.send(3, "a")
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 3*rigBatch/8+31 })
	r.balance()
	r.d.mutex.Lock()
	defer r.d.mutex.Unlock()
	if r.d.lines["last v=1 1\n"] != 1 {
		t.Fatal("the end of the long record is missing")
	}
}

// sealed makes a batch of ten lines that is sealed and not sent.
func (r *spoolRig) sealed() *influx.Batch {
	r.t.Helper()
	b := r.pool.Take()
	body := b.Body()
	for range 10 {
		r.sent++
		body = fmt.Appendf(body, "m v=%d %d\n", r.sent, r.sent)
	}
	b.Extend(body, 10, 1)
	b.Seal(1)
	return b
}

// In mode always a batch is on disk before it is sent. What is settled is forgotten there, what is not is
// delivered, the whole batch or what is left of it; what nobody has settled is restored by the next start.
func TestAlwaysKeepsUntilSettled(t *testing.T) {
	r := newSpoolRig(t, nil)
	var batches []*influx.Batch
	for range 4 {
		b := r.sealed()
		r.port.push(spoolItem{kind: spoolAppend, batch: b})
		r.until("the batch is on disk", func() bool {
			back, ok := r.port.pop()
			if ok {
				back.batch.Mark = back.sequence
				batches = append(batches, back.batch)
			}
			return ok
		})
		if b.Mark == 0 {
			t.Fatal("the disk took none")
		}
	}
	if s := r.spooler.State(); s.Taken != 0 || s.Pending() != 0 || r.d.count() != 0 {
		t.Fatalf("before anything is settled: %+v", s)
	}
	r.port.push(spoolItem{kind: spoolForget, sequence: batches[0].Mark})
	r.port.push(spoolItem{kind: spoolReplay, sequence: batches[1].Mark, points: 10})
	r.until("one batch is delivered", func() bool { return r.spooler.State().Replayed == 10 })
	// Of the third one its writer sets everything aside: the same as some of it, for the spooler.
	r.writer.Submit(batches[2], 1)
	outcome, _ := r.writer.Outcome()
	r.port.push(spoolItem{kind: spoolKeep, batch: outcome.Batch, sequence: batches[2].Mark, points: 10})
	r.until("another batch is delivered", func() bool { return r.spooler.State().Replayed == 20 })
	r.until("one record is left", func() bool {
		s := r.spooler.State()
		return s.Disk.OutRecords == 1 && s.Disk.WaitingRecords == 0
	})
	if s := r.spooler.State(); s.Taken != 20 || s.Pending() != 0 || r.d.count() != 20 {
		t.Fatalf("%d lines, %+v", r.d.count(), s)
	}
	if err := r.spooler.Close(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.until("what was not settled is delivered", func() bool { return r.spooler.State().Replayed == 10 })
	if s := r.spooler.State(); s.Restored != 10 || r.d.count() != 30 {
		t.Fatalf("%d lines, %+v", r.d.count(), s)
	}
}

// A spool that another process holds is an error, not a reason to do without.
func TestSpoolerRefusesHeldSpool(t *testing.T) {
	r := newSpoolRig(t, nil)
	if _, err := StartSpooler(r.config); !errors.Is(err, spool.ErrHeld) {
		t.Fatalf("got %v, want %v", err, spool.ErrHeld)
	}
	// It goes on as before.
	r.send(1, "a")
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 10 })
}
