package notify

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/dataplane/wire"
)

// Goal: alerts wait for a unix socket that is not there yet, and go on when it was made anew. Method: the
// receiver comes, goes, and comes again.
func TestUnixReceiverThatComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	n := start(t, nil, Config{Name: "plc", Type: "unix", Address: path, First: time.Millisecond})
	n.Send(alert("Hot", 1, true, "plc"))
	waitFor(t, n, func(s *Stats) bool { return s.Retries > 2 })
	for life, firing := range []bool{true, false} {
		receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		if life > 0 {
			n.Send(alert("Hot", 1, firing, "plc"))
		}
		frame := make([]byte, 1<<16)
		receiver.SetReadDeadline(time.Now().Add(limit))
		size, err := receiver.Read(frame)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{`"state":"firing"`, `"state":"resolved"`}[life]
		if !bytes.Contains(frame[:size], []byte(want)) || frame[size-1] != '\n' {
			t.Errorf("life %d: got %q", life, frame[:size])
		}
		receiver.Close()
		os.Remove(path)
	}
	finish(t, n)
	if s := n.Stats()[0]; s.Delivered != 2 || s.Lost() != 0 {
		t.Errorf("counted %+v", s)
	}
}

// Goal: a reader that does not read holds up its own notifier alone, and gets all in the end. Method: as many
// alerts as no socket's queue holds.
func TestUnixReaderThatDoesNotRead(t *testing.T) {
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + filepath.Base(t.TempDir()) +
		t.Name(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	n := start(t, nil, Config{Name: "plc", Type: "unix", Address: receiver.LocalAddr().String(),
		Format: FormatLine, Timeout: 20 * time.Millisecond, First: time.Millisecond})
	const alerts = 3000
	for i := range alerts {
		n.Send(alert("Hot", i, true, "plc"))
	}
	waitFor(t, n, func(s *Stats) bool { return s.Retries > 1 })
	seen := map[string]bool{}
	frame := make([]byte, 1<<16)
	for range alerts {
		receiver.SetReadDeadline(time.Now().Add(limit))
		size, err := receiver.Read(frame)
		if err != nil {
			t.Fatalf("after %d: %v", len(seen), err)
		}
		seen[string(frame[:size])] = true
	}
	finish(t, n)
	if len(seen) != alerts {
		t.Errorf("%d different lines, want %d", len(seen), alerts)
	}
}

func TestDatagramsOfLines(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	n := start(t, nil, Config{Name: "plc", Type: "udp", Address: receiver.LocalAddr().String(),
		Format: FormatLine})
	large := alert("Large", 2, false, "plc")
	large.Annotations = map[string]string{"summary": strings.Repeat("x", wire.TextMax)}
	huge := alert("Huge", 3, true, "plc")
	huge.Labels = map[string]string{"x": strings.Repeat("x", wire.TextMax)}
	n.Send(alert("Hot", 1, true, "plc"))
	n.Send(large)
	n.Send(huge)
	finish(t, n)
	frame := make([]byte, 1<<16)
	for i, want := range []string{
		"culvert_alert,alertname=Hot,machine=m1,severity=critical firing=true,state=\"firing\"," +
			"since=1700000000000000001i,fingerprint=\"0000000000000001\",annotation_summary=\"it is hot\" " +
			"1700000000000000001\n",
		"culvert_alert,alertname=Large,machine=m2,severity=critical firing=false,state=\"resolved\"," +
			"since=1700000000000000002i,fingerprint=\"0000000000000002\" 1700000000000000002\n",
	} {
		receiver.SetReadDeadline(time.Now().Add(limit))
		size, _, err := receiver.ReadFrom(frame)
		if err != nil || string(frame[:size]) != want {
			t.Errorf("datagram %d: %v, got %q, want %q", i, err, frame[:size], want)
		}
	}
	if s := n.Stats()[0]; s.Delivered != 2 || s.Refused != 1 {
		t.Errorf("counted %+v", s)
	}
}
