package influx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/uring"
	"culvert/scripts/testenv"
)

// patience is how long a test waits for something that must come; only a failing test waits that long.
const patience = 20 * time.Second

// rig is a worker's part around a writer: the ring, the pool, the loop.
type rig struct {
	t        testing.TB
	ring     *uring.Ring
	pool     *Pool
	writer   *Writer
	skew     int64 // how far the test has turned the clock forward, nanoseconds
	outcomes []Outcome
	set      []unix.PollFd
}

// overBoth runs a test over the ring and over plain sockets.
func overBoth(t *testing.T, f func(t *testing.T, ring bool)) {
	t.Run("ring", func(t *testing.T) { f(t, true) })
	t.Run("sockets", func(t *testing.T) { f(t, false) })
}

// mapped is memory outside of the Go heap.
func mapped(t testing.TB, size int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

// testConfig is quick to retry, so that tests are quick too.
func testConfig(address net.Addr) Config {
	return Config{
		Address: netip.MustParseAddrPort(address.String()), Host: "db:8086", Path: "/write?db=d&precision=ns",
		Connections: 2, Timeout: 10 * time.Second,
		Retry: Retry{Attempts: 3, First: time.Millisecond, Max: 5 * time.Second, Jitter: 0.1},
	}
}

// newRig makes a writer with 16 batches of batchBytes on this test's thread.
func newRig(t testing.TB, ring bool, batchBytes int, config Config) *rig {
	t.Helper()
	// Never unlocked: the ring belongs to this thread, which ends with the test.
	runtime.LockOSThread()
	r := &rig{t: t}
	var err error
	if r.pool, err = NewPool(mapped(t, 16*batchBytes), batchBytes); err != nil {
		t.Fatal(err)
	}
	if ring {
		r.ring, err = uring.New(uring.Config{Entries: 64})
		if errors.Is(err, uring.ErrUnavailable) {
			testenv.Skip(t, err.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	config.Ring, config.Pool = r.ring, r.pool
	config.Memory = mapped(t, MemorySize(config))
	if r.writer, err = NewWriter(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := r.now()
		r.writer.Close(now, now+int64(patience))
		if !r.writer.Quiet() {
			t.Error("the kernel holds something of a closed writer")
		}
		if r.ring != nil {
			if err := r.ring.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *rig) now() int64 { return monotonic() + r.skew }

// turn does what the worker does each turn.
func (r *rig) turn() {
	now := r.now()
	if r.ring != nil {
		if r.ring.NeedsEnter() {
			if err := r.ring.Enter(); err != nil {
				r.t.Fatal(err)
			}
		}
		var cqe uring.CQE
		for r.ring.Next(&cqe) {
			r.writer.Complete(cqe, now)
		}
	}
	r.writer.Poll(now)
	for {
		o, ok := r.writer.Outcome()
		if !ok {
			break
		}
		r.outcomes = append(r.outcomes, o)
	}
	if r.ring != nil && r.ring.NeedsEnter() {
		_ = r.ring.Enter()
	}
}

// sleep waits for the ring or for descriptors, and for timers, at most 10 ms.
func (r *rig) sleep() {
	wait := min(max(r.writer.NextTimer()-r.now(), 0), int64(10*time.Millisecond))
	if r.ring != nil {
		// The ring is all there is to wait for here. What it cannot do now is tried again next turn.
		_ = r.ring.EnterWait(wait)
		return
	}
	r.set = r.writer.PollFDs(r.set[:0])
	timeout := unix.NsecToTimespec(wait)
	_, _ = unix.Ppoll(r.set, &timeout, nil)
}

// until turns until a condition holds.
func (r *rig) until(what string, condition func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; {
		r.turn()
		if condition() {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("no %s; last error %q, stats %+v", what, r.writer.LastError(), r.writer.Stats())
		}
		r.sleep()
	}
}

// submit sends these lines as one batch.
func (r *rig) submit(lines ...string) *Batch {
	r.t.Helper()
	b := fill(r.t, r.pool, lines...)
	now := r.now()
	b.Seal(now)
	r.writer.Submit(b, now)
	return b
}

// outcome waits for the next outcome and releases its batch.
func (r *rig) outcome() Outcome {
	r.t.Helper()
	r.until("outcome", func() bool { return len(r.outcomes) > 0 })
	o := r.outcomes[0]
	r.outcomes = r.outcomes[1:]
	r.pool.Release(o.Batch)
	return o
}

// expect waits for the next outcome and compares.
func (r *rig) expect(written, rejected, undelivered int, reason Reason, code int) {
	r.t.Helper()
	o := r.outcome()
	o.Batch = nil
	want := Outcome{
		Written: written, Rejected: rejected, Undelivered: undelivered, Reason: reason, Code: code,
	}
	if o != want {
		r.t.Fatalf("outcome %+v, want %+v; last error %q", o, want, r.writer.LastError())
	}
}

// request is one request as a server saw it.
type request struct {
	number     int // from 1, over all connections
	connection int // from 1
	head       http.Header
	path       string
	body       string
	conn       net.Conn
}

// lines are the points of the request.
func (q *request) lines() []string {
	var lines []string
	body := []byte(q.body)
	for at := 0; at < len(body); {
		end := lineEnd(body, at)
		lines = append(lines, q.body[at:end])
		at = end
	}
	return lines
}

// answer writes an answer with a body.
func (q *request) answer(status int, headers, body string) {
	io.WriteString(q.conn, withBody(strconv.Itoa(status)+" Some Words", headers, body))
}

// ok answers 204.
func (q *request) ok() { io.WriteString(q.conn, "HTTP/1.1 204 No Content\r\n\r\n") }

// server is a scripted InfluxDB on loopback.
type server struct {
	listener net.Listener
	mutex    sync.Mutex
	accepted int
	requests []request
	conns    map[net.Conn]bool
	stopped  bool
	serving  sync.WaitGroup
}

// newServer answers each request by a script, which reports whether the connection stays open.
func newServer(t testing.TB, script func(q *request) bool) *server {
	t.Helper()
	return newServerAt(t, "127.0.0.1:0", script)
}

func newServerAt(t testing.TB, address string, script func(q *request) bool) *server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: listener, conns: map[net.Conn]bool{}}
	s.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mutex.Lock()
			s.accepted++
			number := s.accepted
			s.conns[conn] = true
			if s.stopped {
				// It came between the last cut and the listener's end.
				reset(conn)
			}
			s.mutex.Unlock()
			s.serving.Go(func() { s.serve(conn, number, script) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *server) serve(conn net.Conn, number int, script func(q *request) bool) {
	defer func() {
		s.mutex.Lock()
		delete(s.conns, conn)
		s.mutex.Unlock()
		conn.Close()
	}()
	reader := bufio.NewReaderSize(conn, 1<<16)
	for {
		read, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		body, err := io.ReadAll(read.Body)
		if err != nil {
			return
		}
		s.mutex.Lock()
		q := request{
			number: len(s.requests) + 1, connection: number, head: read.Header, path: read.RequestURI,
			body: string(body), conn: conn,
		}
		s.requests = append(s.requests, q)
		s.mutex.Unlock()
		if !script(&q) {
			return
		}
	}
}

// seen are the requests so far.
func (s *server) seen() []request {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]request(nil), s.requests...)
}

// stop closes everything and waits for it.
func (s *server) stop() {
	s.listener.Close()
	s.mutex.Lock()
	s.stopped = true
	s.mutex.Unlock()
	s.cut()
	s.serving.Wait()
}

// cut resets every connection.
func (s *server) cut() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for conn := range s.conns {
		reset(conn)
	}
}

// reset closes a connection so that the other side gets ECONNRESET.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// points are n lines of about size bytes.
func points(n, size int) []string {
	lines := make([]string, n)
	for i := range lines {
		line := fmt.Sprintf("m,n=%d v=%d", i, i)
		if pad := size - len(line); pad > 8 {
			line += ",p=\"" + strings.Repeat("x", pad-6) + "\""
		}
		lines[i] = line + fmt.Sprintf(" %d", 1_700_000_000_000_000_000+i)
	}
	return lines
}

// text is the body that lines make.
func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	fd, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n, memory := 0, make([]byte, 1<<16)
	for {
		size, err := unix.Getdents(fd, memory)
		if err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			return n
		}
		_, _, names := unix.ParseDirent(memory[:size], -1, nil)
		n += len(names)
	}
}

// same reports whether all requests carried the same bytes.
func same(requests []request) bool {
	for _, q := range requests {
		if !bytes.Equal([]byte(q.body), []byte(requests[0].body)) {
			return false
		}
	}
	return true
}
