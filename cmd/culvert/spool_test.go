package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/fakesink"
	"culvert/dataplane/spool"
)

// makeSpool fills a spool with records of two points and returns its directory.
func makeSpool(t *testing.T, folder, url string, records int) string {
	t.Helper()
	path := filepath.Join(folder, spool.DirectoryName("main", url))
	files, err := spool.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := spool.Open(spool.Config{
		Files: files, Label: spool.Label{Gateway: "g", Sink: "main", URL: url}, SegmentBytes: 1 << 20,
		MaxBytes: 1 << 24, Codec: spool.CodecSnappy,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range records {
		r := spool.Record{Points: 2, Oldest: 1e18, Body: []byte("m,u=" + url + " v=1 1\nm v=2 2\n")}
		if _, err := l.Append(&r, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A folder of the configuration that is not there yet is no mistake, and one that may not be read has a
// remedy.
func TestSpoolWithoutAny(t *testing.T) {
	var diagnostics strings.Builder
	file := filepath.Join(t.TempDir(), "culvert.yaml")
	text := "interfaces: [{name: lo}]\nsinks: [{name: main, urls: [http://a:8086], database: x}]\n" +
		"spool: {dir: " + filepath.Join(t.TempDir(), "none") + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	choice := spoolChoice{file: file}
	if found, err := choice.spools(&diagnostics); err != nil || len(found) != 0 ||
		!strings.Contains(diagnostics.String(), "nothing has ever waited in") {
		t.Errorf("%q, %v, %q", found, err, diagnostics.String())
	}
	err := permitted(fmt.Errorf("open lock: %w", fs.ErrPermission))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "run it as root") {
		t.Errorf("%v", err)
	}
	if other := errors.New("other"); permitted(other) != other || permitted(nil) != nil {
		t.Error("another error is changed")
	}
}

// Every command over two spools, one of which is then damaged.
func TestSpool(t *testing.T) {
	folder := t.TempDir()
	first := makeSpool(t, folder, "http://a:8086", 3)
	makeSpool(t, folder, "http://b:8086", 1)
	f := func(code int, want string, arguments ...string) string {
		t.Helper()
		got, out, diagnostics := finish(t, append([]string{"spool"}, arguments...)...)
		if got != code || !strings.Contains(out+diagnostics, want) {
			t.Fatalf("culvert spool %s: code %d, want %d and %q:\n%s%s", strings.Join(arguments, " "),
				got, code, want, out, diagnostics)
		}
		return out
	}
	in := "--dir=" + folder
	f(0, "main  http://a:8086  1         3        6       2001-09-09T01:46:40Z", "ls", in)
	f(0, "http://b:8086", "ls", in)
	if out := f(0, "", "cat", in, "--to", "http://b:8086"); out != "m,u=http://b:8086 v=1 1\nm v=2 2\n" {
		t.Fatalf("cat prints %q", out)
	}
	if out := f(0, "", "cat", "--dir", first); strings.Count(out, "\n") != 6 {
		t.Fatalf("cat of one spool prints %q", out)
	}
	f(0, "sound, 3 records, 6 points, 6 wait", "verify", in)
	f(1, "nothing waits for it", "ls", in, "--to", "http://c:1")
	f(2, "want --to URL, or --all", "drop", in)
	f(2, "no command is given")
	f(78, "no such file", "ls", "-c", filepath.Join(folder, "none.yaml"))

	f(1, "no such file", "ls", "--dir", filepath.Join(folder, "none"))
	f(1, "there is none in", "verify", "--dir", t.TempDir())
	segments, err := filepath.Glob(filepath.Join(first, "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-3] ^= 1
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	f(1, "are corrupt, 2 points", "verify", in)
	f(0, "1 segment mended", "repair", in)
	f(0, "kept aside", "verify", in)
	f(0, "main  http://a:8086  1         2        4", "ls", in)

	held, err := spool.OpenExisting(first)
	if err != nil {
		t.Fatal(err)
	}
	f(69, "another process holds the spool; stop the gateway first", "cat", in)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	f(0, "dropped 4 points", "drop", in, "--to", "http://a:8086")
	if out := f(0, "http://b:8086", "ls", in); strings.Contains(out, "http://a:8086") {
		t.Fatalf("something is left:\n%s", out)
	}
}

// What waits is delivered without a gateway; a server that takes nothing is named, and costs nothing.
func TestSpoolReplay(t *testing.T) {
	server, err := fakesink.New(fakesink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	defer listener.Close()
	folder := t.TempDir()
	makeSpool(t, folder, listener.URL, 20)
	file := filepath.Join(t.TempDir(), "culvert.yaml")
	text := fmt.Sprintf("interfaces: [{name: eth1}]\nspool: {dir: %s}\nsinks: [{name: main, urls: [%s], "+
		"database: telemetry}]\n", folder, listener.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, diagnostics := finish(t, "spool", "replay", "-c", file)
	if code != 0 || !strings.Contains(out, "40 of 40 points delivered, 0 rejected, 0 dropped, 0 wait") {
		t.Fatalf("code %d: %s%s", code, out, diagnostics)
	}
	if got := server.Stats(); got.Points != 40 {
		t.Fatalf("the server has %+v", got)
	}
	makeSpool(t, folder, listener.URL, 3)
	listener.Close()
	code, out, diagnostics = finish(t, "spool", "replay", "-c", file, "--to", listener.URL)
	if code != 1 || !strings.Contains(out, "6 wait") || !strings.Contains(diagnostics, "it takes nothing") {
		t.Fatalf("code %d: %s%s", code, out, diagnostics)
	}
	code, out, _ = finish(t, "spool", "ls", "--dir", folder)
	if code != 0 || !strings.Contains(out, "3        6") {
		t.Fatalf("code %d: %s", code, out)
	}
}
