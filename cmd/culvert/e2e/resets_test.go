package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// numbered is a flood whose points are told apart by their lines.
type numbered struct {
	t *testing.T
	*flood
}

// newNumbered sends line(0), line(1) and so on, about a thousand each second.
func newNumbered(t *testing.T, lab *testenv.Lab, line func(n int) string) *numbered {
	t.Helper()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	return &numbered{t, startFlood(t, time.Millisecond, func(n uint64) error {
		_, err := io.WriteString(conn, line(int(n)))
		return err
	})}
}

// arrives waits until the database has a point that is sent from now on, and logs how long that took.
func (f *numbered) arrives(after string, has func(n int) (bool, error)) {
	f.t.Helper()
	began, fresh := time.Now(), int(f.sent.Load())+1
	eventually(f.t, "a fresh point arrives after "+after, func() error {
		found, err := has(fresh)
		if err == nil && !found {
			err = fmt.Errorf("point %d is not there", fresh)
		}
		return err
	})
	f.t.Logf("a fresh point is in the database %s after %s", time.Since(began).Round(time.Millisecond), after)
}

// harm is what a relay does to requests.
type harm int32

const (
	harmNone    harm = iota
	harmInside       // the connection is reset in the middle of a request
	harmBehind       // it is reset once the server has answered, of which the gateway learns nothing
	harmHalf         // half an answer, then the connection's end
	harmSilence      // the request arrives, the answer does not
)

// relay passes connections on to a server, with harm where asked for. It listens in the gateway's namespace.
type relay struct {
	lab      *testenv.Lab
	to       string
	listener net.Listener
	mode     atomic.Int32
	harmed   atomic.Int64 // requests that came to harm
}

func newRelay(t *testing.T, lab *testenv.Lab, to string) *relay {
	t.Helper()
	r := &relay{lab: lab, to: to, listener: listen(t, lab)}
	go func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { r.listener.Close() })
	return r
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// serve relays one connection until either side ends it or it comes to harm.
func (r *relay) serve(conn *net.TCPConn) {
	defer conn.Close()
	var server net.Conn
	if err := r.lab.Gateway.Do(func() (err error) {
		server, err = net.Dial("tcp", r.to)
		return err
	}); err != nil {
		reset(conn)
		return
	}
	defer server.Close()
	go func() {
		r.answers(server, conn)
		conn.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if harm(r.mode.Load()) == harmInside && n > 1 {
			// The server sees a request that ends too soon, and stores nothing of it.
			_, _ = server.Write(buffer[:n/2])
			r.harmed.Add(1)
			reset(conn)
			return
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// answers passes on what the server says.
func (r *relay) answers(server net.Conn, conn *net.TCPConn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		switch mode := harm(r.mode.Load()); {
		case mode == harmSilence && bytes.HasPrefix(buffer, []byte("HTTP/")):
			r.harmed.Add(1)
			continue
		case mode == harmHalf:
			r.harmed.Add(1)
			_, _ = conn.Write(buffer[:n/2])
			return
		case mode == harmBehind:
			r.harmed.Add(1)
			reset(conn)
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// reset closes a connection with RST.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	conn.Close()
}

// Goal: whatever becomes of the connections to InfluxDB, each point is stored once, none is lost, the ledger
// is exact, and fresh points arrive soon after it has healed. Method: under load, connections that are reset
// inside a request and after the server has stored it, half an answer, no answer, refused connections and a
// server that stands still beyond the timeout; after each the database is asked for a point that was sent
// later, and in the end for all. It is no TestPriv…: on the emulated machines the timeouts alone outlast it.
func TestConnectionsComeToHarm(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	r := newRelay(t, lab, "127.0.0.1:8086")
	const base = 1_700_000_000_000_000_000
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry, timeout: 300ms, batch: {bytes: 64KiB},
  retry: {attempts: 3, first: 20ms, max: 200ms}}]
spool: {dir: %s, segment: 1MiB, max: 64MiB, sync: 20ms}
`, lab.GatewayInterface, port, r.url(), filepath.Join(t.TempDir(), "spool")))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	load := newNumbered(t, lab, func(n int) string { return fmt.Sprintf("harm v=%di %d", n, base+n) })
	g.steers()
	healed := func(what string) {
		t.Helper()
		load.arrives(what, func(n int) (bool, error) {
			rows, err := d.query(fmt.Sprintf("SELECT v FROM harm WHERE time = %d", base+n))
			return len(rows) == 1, err
		})
	}
	for _, one := range []struct {
		name string
		mode harm
	}{
		{"resets inside requests", harmInside}, {"resets behind requests", harmBehind},
		{"halves of answers", harmHalf}, {"answers that were lost", harmSilence},
	} {
		before := r.harmed.Load()
		r.mode.Store(int32(one.mode))
		eventually(t, one.name, func() error {
			if n := r.harmed.Load() - before; n < 10 {
				return fmt.Errorf("%d requests came to harm", n)
			}
			return nil
		})
		r.mode.Store(int32(harmNone))
		healed(one.name)
	}

	failures := func() uint64 {
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Sinks[0].Requests["error"]
	}
	before := failures()
	if err := d.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "requests time out", func() error {
		if n := failures() - before; n < 3 {
			return fmt.Errorf("%d requests without an answer", n)
		}
		return nil
	})
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	healed("standing still")

	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	spooled := s.Ledger.SpoolPending
	d.stop() // Nobody listens behind the relay: it resets what it accepts.
	eventually(t, "points go to the spool", func() error {
		s, err := g.status()
		if err == nil && s.Ledger.SpoolPending < spooled+200 {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	d.start()
	healed("a start anew")

	sent := int(load.stop())
	s = g.emptied(uint64(sent))
	if s.Ledger.Written != uint64(sent) || s.Ledger.Residue != 0 || s.Sinks[0].Points.Residue != 0 ||
		len(s.Ledger.Dropped)+len(s.Ledger.Rejected) > 0 {
		t.Fatalf("%d points sent: %+v", sent, s.Ledger)
	}
	rows, err := d.query("SELECT v FROM harm")
	if err != nil || len(rows) != sent {
		t.Fatalf("%d points sent, %d in the database, %v", sent, len(rows), err)
	}
	for n, row := range rows {
		if fmt.Sprint(row["v"]) != fmt.Sprint(n) || fmt.Sprint(row["time"]) != fmt.Sprint(base+n) {
			t.Fatalf("point %d is %v", n, row)
		}
	}
	t.Logf("%d points, %d by the spool, requests %v", sent, s.Sinks[0].Spool.Replayed, s.Sinks[0].Requests)
}
