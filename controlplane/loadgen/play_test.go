package loadgen

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// captureFile writes a pcap or pcapng file of these frames, a millisecond apart.
func captureFile(t *testing.T, kind string, link layers.LinkType, frames ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var write func(gopacket.CaptureInfo, []byte) error
	end := func() error { return nil }
	if kind == "pcap" {
		w := pcapgo.NewWriter(file)
		err, write = w.WriteFileHeader(65536, link), w.WritePacket
	} else {
		w, failed := pcapgo.NewNgWriter(file, link)
		err, write, end = failed, w.WritePacket, w.Flush
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, frame := range frames {
		err := write(gopacket.CaptureInfo{
			Timestamp: time.Unix(1_700_000_000, int64(i)*1e6), CaptureLength: len(frame), Length: len(frame),
		}, frame)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return path
}

func frameOf(ends endpoints, payload string) []byte {
	frame := make([]byte, 2048)
	return frame[:newHeaders(ends, true).put(frame, []byte(payload))]
}

// Goal: the UDP payloads of a capture are sent as they are, in order, each sender by a flow of its own, and
// what is none is told. Method: both formats, both IP versions, with a VLAN tag, a fragment, padding and
// other protocols among them.
func TestPlayCapture(t *testing.T) {
	first, second := testEnds(testFrom4, testTo4), testEnds(testFrom6, testTo6)
	fragment := frameOf(first, "m v=9\n")
	fragment[20] |= 0x20
	tagged := frameOf(second, "m v=3 3\nm v=x 4\n")
	tagged = slices.Insert(tagged, 12, 0x81, 0x00, 0x00, 0x05)
	frames := [][]byte{
		frameOf(first, "m v=1 1\nm v=2 2\n"), fragment,
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 11: 1, 13: 6, 59: 0},
		tagged, append(frameOf(first, "m v=5\n"), 0, 0, 0, 0), frameOf(first, ""),
	}
	want := []string{"m v=1 1\nm v=2 2\n", "m v=3 3\nm v=x 4\n", "m v=5\n"}
	for _, kind := range []string{"pcap", "pcapng"} {
		r := newReceiver(t, "127.0.0.1")
		report := run(t, Config{
			To: []netip.AddrPort{r.address()}, Speed: 1,
			Play: captureFile(t, kind, layers.LinkTypeEthernet, frames...),
		})
		into := make([]byte, 1<<16)
		var got []string
		senders := map[string]netip.AddrPort{}
		for range report.Packets {
			n, from, err := r.conn.ReadFromUDPAddrPort(into)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(into[:n]))
			senders[string(into[:n])] = from
		}
		if !slices.Equal(got, want) || senders[want[0]] != senders[want[2]] {
			t.Fatalf("%s: %q from %v", kind, got, senders)
		}
		if found := report.Recorded; found == nil || *found != (Recorded{
			Kind: kind, Packets: 3, Points: 4, BadLines: 1, Skipped: 3, Seconds: 0.004,
		}) || report.Points != 4 || report.Seconds < 0.004 {
			t.Fatalf("%s: %+v of %+v", kind, report, found)
		}
	}
}

// Goal: a file of lines is sent in packets of as many lines as asked for, strings with line feeds whole,
// comments left out, bad lines kept.
func TestPlayLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	text := "# begin\nm v=1 1000000000\n\nm s=\"a\nb\" 1001000000\nm v=x\r\n  m v=4 1002000000"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, "127.0.0.1")
	report := run(t, Config{
		To: []netip.AddrPort{r.address()}, Play: path, PointsPerPacket: 3, Flows: 1, Rate: 1e6,
	})
	lines, _ := r.lines(report.Packets)
	want := "m v=1 1000000000|m s=\"a|b\" 1001000000|m v=x|m v=4 1002000000"
	if got := strings.ReplaceAll(strings.Join(lines, "|"), "\r", ""); got != want {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	if found := report.Recorded; *found != (Recorded{
		Kind: "lines", Packets: 2, Points: 3, BadLines: 1, Seconds: 0.002,
	}) {
		t.Fatalf("%+v", found)
	}
}

// Goal: a loop goes on until the count is reached, with its own pace and at a rate.
func TestPlayLoop(t *testing.T) {
	path := captureFile(t, "pcap", layers.LinkTypeEthernet,
		frameOf(testEnds(testFrom4, testTo4), "m v=1\nm v=2\n"),
		frameOf(testEnds(testFrom4, testTo4), "m v=3\n"))
	for _, c := range []Config{{Speed: 1}, {Speed: 1000}, {Rate: 10_000}, {}} {
		r := newReceiver(t, "127.0.0.1")
		c.To, c.Play, c.Loop, c.Count = []netip.AddrPort{r.address()}, path, true, 30
		report := run(t, c)
		if lines, _ := r.lines(report.Packets); report.Packets != 20 || len(lines) != 30 ||
			report.Interrupted {
			t.Fatalf("%+v: %+v", c, report)
		}
		// 9 rounds of 2 ms, and one packet more.
		if c.Speed == 1 && report.Seconds < 0.018 {
			t.Fatalf("faster than recorded: %+v", report)
		}
	}
}

func TestWrongRecordings(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	to := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
	f := func(want string, c Config) {
		t.Helper()
		c.To = to
		for range 2 {
			if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
	f("no such file", Config{Play: filepath.Join(dir, "absent")})
	f("no packet to play", Config{Play: file("# nothing\n")})
	f("no packet to play", Config{Play: file("")})
	f("packet 1", Config{Play: file("\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 8) +
		"\xff\xff\x00\x00\x01\x00\x00\x00torn")})
	f("there is none in it", Config{Play: file("no line\n"), Rate: 1})
	f("a datagram holds", Config{Play: file(strings.Repeat("m v=1\n", 20_000)), PointsPerPacket: 20_000})
	f("name it", Config{Speed: 1})
	f("name it", Config{Loop: true})
	f("contradict", Config{Play: "x", Speed: 1, Rate: 1})
	f("sequence", Config{Play: "x", Sequence: true})
	f("alert share", Config{Play: "x", AlertShare: 0.5})
}
