package influx

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// faulty is an InfluxDB of one version that keeps what it executes and goes wrong in one way until it heals.
// It works on bytes, so that requests and answers can break anywhere.
type faulty struct {
	listener net.Listener
	tls      *tls.Config // nil: not encrypted
	version  int
	play     func(x *exchange) (open bool)
	// stopped and wentOn count the exchanges that wait, or waited, for the other side to lose patience.
	stopped, wentOn atomic.Int64
	// spoiled is how often play was called.
	spoiled atomic.Int64
	healed  atomic.Bool
	mended  chan struct{} // closed with it
	serving sync.WaitGroup

	mutex    sync.Mutex
	conns    map[net.Conn]bool
	standing []net.Conn
	stored   map[string]bool   // lines
	answered map[string]bool   // lines of requests whose answer said what became of each of them
	twice    []string          // of those, the ones that came again
	bodies   map[string]string // what was executed without an answer, by its first line
	changed  []string          // first lines of those of which other bytes came again
}

// newFaulty serves on loopback.
func newFaulty(t *testing.T, version int, secure *tls.Config, play func(x *exchange) bool) *faulty {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{
		listener: listener, tls: secure, version: version, play: play, conns: map[net.Conn]bool{},
		stored: map[string]bool{}, answered: map[string]bool{}, bodies: map[string]string{},
		mended: make(chan struct{}),
	}
	f.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mutex.Lock()
			f.conns[conn] = true
			f.mutex.Unlock()
			f.serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(f.stop)
	return f
}

// stop ends everything.
func (f *faulty) stop() {
	f.listener.Close()
	f.mutex.Lock()
	for conn := range f.conns {
		reset(conn)
	}
	f.mutex.Unlock()
	f.serving.Wait()
}

func (f *faulty) serve(raw net.Conn) {
	defer func() {
		f.mutex.Lock()
		delete(f.conns, raw)
		f.mutex.Unlock()
		raw.Close()
	}()
	x := &exchange{faulty: f, raw: raw, conn: raw}
	if f.tls != nil {
		secure := tls.Server(raw, f.tls)
		if secure.Handshake() != nil {
			return
		}
		defer secure.Close()
		x.conn = secure
	}
	x.from = bufio.NewReaderSize(x.conn, 1<<16)
	for {
		// Nothing is read before the fault has had its say.
		if _, err := x.from.Peek(1); err != nil {
			return
		}
		x.body, x.head, x.whole = "", nil, false
		play := f.play
		if f.healed.Load() {
			play = sound
		} else {
			f.spoiled.Add(1)
		}
		if !play(x) {
			return
		}
		x.number++
	}
}

// sound is a server without faults.
func sound(x *exchange) bool {
	if !x.read() {
		return false
	}
	answer := x.execute()
	x.answers()
	x.send(answer)
	return true
}

// execute stores what the server's version stores of a body, and returns its answer.
func (f *faulty) execute(body string) (answer string) {
	q := request{body: body}
	lines := q.lines()
	stored, answer := answerOf(f.version, lines)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, line := range stored {
		f.stored[line] = true
	}
	for _, line := range lines {
		if f.answered[line] {
			f.twice = append(f.twice, line)
		}
	}
	if before, ok := f.bodies[lines[0]]; ok && before != body {
		f.changed = append(f.changed, lines[0])
	}
	f.bodies[lines[0]] = body
	return answer
}

// exchange is one request and what is made of it.
type exchange struct {
	faulty *faulty
	raw    net.Conn // below TLS, if there is any
	conn   net.Conn
	from   *bufio.Reader
	number int // of requests that this connection had before
	head   *http.Request
	body   string
	whole  bool // body has been read
}

// read takes the request whole, and reports whether it came.
func (x *exchange) read() bool {
	if x.head == nil && !x.readHead() {
		return false
	}
	body, err := io.ReadAll(x.head.Body)
	x.body, x.whole = string(body), err == nil
	return x.whole
}

// readHead takes the request's head.
func (x *exchange) readHead() bool {
	var err error
	x.head, err = http.ReadRequest(x.from)
	return err == nil
}

// readSome takes so many bytes of whatever the request has next.
func (x *exchange) readSome(n int) { io.CopyN(io.Discard, x.from, int64(n)) }

// execute stores the request's points. The answer is what a server without faults would say now.
func (x *exchange) execute() string { return x.faulty.execute(x.body) }

// answers notes that what comes next on the wire tells the other side what became of the points. If that is
// that all are stored, it has to believe it and never to send them again.
func (x *exchange) answers() {
	q := request{body: x.body}
	lines := q.lines()
	stored, _ := answerOf(x.faulty.version, lines)
	x.faulty.mutex.Lock()
	defer x.faulty.mutex.Unlock()
	delete(x.faulty.bodies, lines[0])
	if len(stored) < len(lines) {
		return
	}
	for _, line := range lines {
		x.faulty.answered[line] = true
	}
}

// send writes pieces one by one, and reports whether all went out.
func (x *exchange) send(pieces ...string) bool {
	for _, piece := range pieces {
		if _, err := io.WriteString(x.conn, piece); err != nil {
			return false
		}
	}
	return true
}

// sendUntilRefused writes the same again and again until the other side has had enough.
func (x *exchange) sendUntilRefused(piece string) {
	block := bytes.Repeat([]byte(piece), 1+(64<<10)/len(piece))
	for {
		if _, err := x.conn.Write(block); err != nil {
			return
		}
	}
}

// stand lets the other side wait until it closes, or until the server heals.
func (x *exchange) stand() bool {
	f := x.faulty
	f.mutex.Lock()
	if f.standing = append(f.standing, x.raw); f.healed.Load() {
		reset(x.raw)
	}
	f.mutex.Unlock()
	f.stopped.Add(1)
	defer f.wentOn.Add(1)
	io.Copy(io.Discard, x.from)
	return false
}

// heal puts the server in order. What it stands on gets a reset, as from one that is started again.
func (f *faulty) heal() {
	if f.healed.CompareAndSwap(false, true) {
		close(f.mended)
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, conn := range f.standing {
		reset(conn)
	}
}

// cut ends the connection with a reset, below TLS.
func (x *exchange) cut() bool {
	reset(x.raw)
	return false
}

// size is the request's length as its head says.
func (x *exchange) size() int {
	n, _ := strconv.Atoi(x.head.Header.Get("Content-Length"))
	return max(n, int(x.head.ContentLength))
}

// written is the usual success.
const written = "HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n" +
	"X-Influxdb-Version: 1.8.10\r\n\r\n"

// instead answers a request that is read whole, and not executed, with something else.
func instead(answer func(x *exchange) string) func(x *exchange) bool {
	return func(x *exchange) bool {
		if !x.read() {
			return false
		}
		x.send(answer(x))
		return true
	}
}

// refusing answers every request so.
func refusing(status int, headers, body string) func(x *exchange) bool {
	text := withBody(strconv.Itoa(status)+" Some Words", headers, body)
	return instead(func(*exchange) string { return text })
}

// unsure executes a request but does not say so: what follows is no answer.
func unsure(then func(x *exchange) bool) func(x *exchange) bool {
	return func(x *exchange) bool {
		if !x.read() {
			return false
		}
		x.execute()
		return then(x)
	}
}

// breaking executes a request, sends these bytes and closes.
func breaking(text string) func(x *exchange) bool {
	return unsure(func(x *exchange) bool { x.send(text); return false })
}

// odd executes a request and says so in these pieces, which are unusual but right. Where it does not store
// all, it answers as usual.
func odd(pieces ...string) func(x *exchange) bool {
	return func(x *exchange) bool {
		if !x.read() {
			return false
		}
		answer := x.execute()
		x.answers()
		if strings.HasPrefix(answer, "HTTP/1.1 4") {
			return x.send(answer)
		}
		return x.send(pieces...)
	}
}

// letters are a text's bytes, to be sent one by one.
func letters(text string) []string { return strings.Split(text, "") }
