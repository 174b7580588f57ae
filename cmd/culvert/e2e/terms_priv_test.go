package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// sendLocally sends a point so often from an address of the gateway's own host, over loopback.
func sendLocally(t *testing.T, lab *testenv.Lab, source string, times int) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(source)},
			&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return err
		}
		defer conn.Close()
		for range times {
			if _, err := fmt.Fprint(conn, "m v=1"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sendJumbogram sends a datagram that is longer than UDP's own length can say, over loopback: an IPv6
// jumbogram (RFC 2675), which the kernel takes. It is zeros behind its line, since the kernel keeps the
// length to be summed in 16 bits (udp_skb_cb.cscov, include/net/udp.h): zeros change no sum. It is hardly
// longer than that, because Linux 6.1 sends no packet of more than 17 pages.
func sendJumbogram(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	segment := make([]byte, 8) // the length is 0: what IPv6 says counts
	binary.BigEndian.PutUint16(segment, 40000)
	binary.BigEndian.PutUint16(segment[2:], port)
	segment = append(append(segment, "m v=1\n"...), make([]byte, 65_600)...)
	// 8 bytes of hop-by-hop options: the jumbo payload option alone.
	options := []byte{unix.IPPROTO_UDP, 0, 0xc2, 4, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(options[4:], uint32(len(options)+len(segment)))
	pseudo := append(append([]byte(nil), net.IPv6loopback...), net.IPv6loopback...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(segment)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_UDP)
	sum := ^wordSum(append(pseudo, segment...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(segment[6:], sum)
	packet := append(make([]byte, 12, 100_000), 0x86, 0xdd) // loopback has the MAC 0
	packet = append(packet, 6<<4, 0, 0, 0, 0, 0, unix.IPPROTO_HOPOPTS, 64)
	packet = append(append(packet, net.IPv6loopback...), net.IPv6loopback...)
	packet = append(append(packet, options...), segment...)
	err := lab.Gateway.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMTU(lo, len(packet)); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrLinklayer{Ifindex: lo.Attrs().Index})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal and method as in TestPrivEachTermOfTheBalance, for packets of several frames: one for which too few
// frames are left, although there are some.
func TestPrivTermsOfLongPackets(t *testing.T) {
	need(t)
	if !testenv.AtLeast(6, 6) {
		t.Log("not run: no AF_XDP socket takes such packets before Linux 6.6")
		return
	}
	lab := testenv.NewLab(t, 1)
	setMTU(t, lab, 9000)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
workers: {frames: 256}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, moody(t, lab))))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	driveTerms(t, g, []term{lostPacket("no_room", func() {
		g.hold()
		for range 100 {
			fmt.Fprint(conn, strings.Repeat("m v=1\n", 1400))
		}
		g.release()
	})})
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// absent is a database that can be away: it answers 503 then.
func absent(t *testing.T, lab *testenv.Lab) (url string, away *atomic.Bool) {
	t.Helper()
	away = new(atomic.Bool)
	away.Store(true)
	listener := listen(t, lab)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String(), away
}

// standing is a database that answers no write until it may go on.
func standing(t *testing.T, lab *testenv.Lab) (url string, goOn func()) {
	t.Helper()
	held := make(chan struct{})
	goOn = sync.OnceFunc(func() { close(held) })
	listener := listen(t, lab)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		if strings.Contains(request.URL.Path, "write") {
			<-held
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { goOn(); server.Close() })
	return "http://" + listener.Addr().String(), goOn
}

// spoilSpool flips a bit of the first point in the spool's files whose text it finds.
func spoilSpool(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(content, []byte(text))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{content[at] ^ 1}, int64(at))
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no %q in %v", text, files)
}

// Goal and method as in TestPrivEachTermOfTheBalance, for what goes through the spool: points that wait
// there, come back, and are lost since the disk changed them; copies for a second server; and what a new
// start finds.
func TestPrivTermsOfTheSpool(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	first, firstAway := absent(t, lab)
	second, secondAway := absent(t, lab)
	dir := t.TempDir()
	config := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 256}
sinks:
  - {name: main, urls: [%s, %s], routing: replicate, database: telemetry,
     retry: {attempts: 1, first: 10ms, max: 100ms}}
spool: {dir: %s, sync: 10ms, compression: none}
`, lab.GatewayInterface, port, first, second, dir))
	run := func() *gateway {
		g := start(t, lab, "run", "-c", config)
		g.steered()
		return g
	}
	g := run()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	send := func() {
		for i := range 20 {
			fmt.Fprintf(conn, "motor temperature=%d", i)
			time.Sleep(time.Millisecond)
		}
	}
	pending := func(s *telemetry.Status) uint64 { return s.Ledger.SpoolPending }
	onDisk := func(want uint64) {
		t.Helper()
		eventually(t, "points are on disk", func() error {
			s, err := g.status()
			if err == nil && (s.Sinks[0].Spool.DiskPoints < want || s.Sinks[1].Spool.DiskPoints < want) {
				err = fmt.Errorf("%+v, %+v", s.Sinks[0].Spool, s.Sinks[1].Spool)
			}
			return err
		})
	}
	if n := g.metric("culvert_points_spool_pending", ""); n != 0 {
		t.Fatalf("%v points in the spool before there are any", n)
	}
	driveTerms(t, g, []term{
		moved("copied", "culvert_points_copied_total",
			func(s *telemetry.Status) uint64 { return s.Ledger.Copied }, send),
		lostPoint("corrupt", func() {
			onDisk(20)
			if s, err := g.status(); err != nil || pending(s) != 40 ||
				g.metric("culvert_points_spool_pending", "") != 40 {
				t.Fatalf("%+v, %v", s.Ledger, err)
			}
			spoilSpool(t, dir, "temperature=7")
			firstAway.Store(false)
			secondAway.Store(false)
		}),
	})
	s := g.emptied(20)
	replayed := s.Sinks[0].Spool.Replayed + s.Sinks[1].Spool.Replayed
	if lost := s.Ledger.Dropped["corrupt"]; replayed+lost != 40 || s.Ledger.Written != replayed ||
		g.metric("culvert_points_replayed_total", "") != float64(replayed) {
		t.Fatalf("%d replayed, %d lost, want 40 together: %+v", replayed, lost, s.Ledger)
	}
	firstAway.Store(true)
	secondAway.Store(true)
	send()
	onDisk(20)
	g.kill()
	g = run()
	eventually(t, "what the last one left is in the balance", func() error {
		s, err := g.status()
		if err == nil && (s.Ledger.Restored != 40 || s.Ledger.SpoolPending != 40 || s.Ledger.Residue != 0 ||
			g.metric("culvert_points_restored_total", "") != 40) {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	firstAway.Store(false)
	secondAway.Store(false)
	if s := g.emptied(0); s.Ledger.Written != 40 || s.Ledger.Residue != 0 {
		t.Fatalf("%+v", s.Ledger)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal and method as in TestPrivEachTermOfTheBalance, for what is lost where no database is: the retry budget
// is spent, a key gets too long, no batch is free, the spool is full; and at the kernel's own socket. It is
// no TestPriv…, since on an emulated machine other bounds may be reached first.
func TestEachTermWithoutADatabase(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	const nowhere = "http://127.0.0.1:9"
	runAt := func(url, sink, more string) *gateway {
		g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
			`interfaces: [{name: %s, mode: socket}]
listeners: [{name: plant, port: %d, tags: {place: %s}}]
sinks: [{name: main, urls: ["%s"], database: telemetry%s}]
%s`, lab.GatewayInterface, port, strings.Repeat("x", 200), url, sink, more)))
		eventually(t, "it answers", func() error { _, err := g.status(); return err })
		return g
	}
	run := func(sink, more string) *gateway { return runAt(nowhere, sink, more) }
	conn := udpSender(t, lab, lab.GatewayIPv4)
	send := func(n, length int) func() {
		return func() {
			text := "m s=\"" + strings.Repeat("x", length) + "\""
			for range n {
				fmt.Fprint(conn, text)
			}
		}
	}
	g := run(", retry: {attempts: 1, first: 10ms, max: 10ms}", "spool: {dir: \"\"}\n")
	driveTerms(t, g, []term{
		lostPoint("undelivered", send(1, 1)),
		refusedPoint("sink", "key_length", "points rejected at the sink", func() {
			fmt.Fprint(conn, strings.Repeat("k", 65_400)+" v=1")
		}),
		{"the kernel's socket is full", func() {
			g.hold()
			send(40_000, 1000)()
			g.release()
		}, func(s *telemetry.Status) uint64 { return s.Packets.KernelDrops },
			"culvert_listener_kernel_drops_total", "", "packets dropped by the kernel's socket of plant: "},
	})
	// Points that nobody can take are lost at the end, and the exit code says so.
	g.stop()

	url, goOn := standing(t, lab)
	g = runAt(url, ", timeout: 30s, batch: {bytes: 16KiB}", "spool: {dir: \"\"}\n")
	g.ready()
	driveTerms(t, g, []term{lostPoint("overload", func() {
		eventually(t, "no batch is free", func() error {
			send(100, 1000)()
			s, err := g.status()
			if err == nil && s.Ledger.Dropped["overload"] == 0 {
				err = fmt.Errorf("%+v", s.Ledger)
			}
			return err
		})
		goOn()
	})})
	g.stop()

	dir := t.TempDir()
	spoolOnly := fmt.Sprintf("spool: {dir: %s, max: 2MiB, segment: 1MiB, compression: none}\n", dir)
	g = run(", retry: {attempts: 1, first: 10ms, max: 10ms}, batch: {bytes: 16KiB}", spoolOnly)
	driveTerms(t, g, []term{lostPoint("spool_full", func() {
		// At a pace that the spool takes: faster, and batches are lacking first.
		for range 150 {
			send(20, 1000)()
			time.Sleep(10 * time.Millisecond)
		}
	})})
	g.stop()
}
