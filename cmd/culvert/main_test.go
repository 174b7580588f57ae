package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/attach"
	"culvert/controlplane/fakesink"
	"culvert/controlplane/gateway"
	"culvert/controlplane/loadgen"
)

// waitLimit is how long a test waits for a program that ends within milliseconds.
const waitLimit = 20 * time.Second

func TestMain(m *testing.M) {
	// The test binary is culvert itself when the tests start it as such.
	if os.Getenv("CULVERT_TEST_RUN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// culvert is one command line, as a process of its own.
func culvert(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append(os.Environ(), "CULVERT_TEST_RUN=1")
	return command
}

// finish runs a command line to its end.
func finish(t *testing.T, arguments ...string) (code int, out, diagnostics string) {
	t.Helper()
	command := culvert(t, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	timer := time.AfterFunc(waitLimit, func() { command.Process.Kill() })
	defer timer.Stop()
	err := command.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// Goal: wrong usage ends with 2 and one line that says what is wrong and where help is.
func TestWrongUsage(t *testing.T) {
	f := func(want string, arguments ...string) {
		t.Helper()
		code, out, diagnostics := finish(t, arguments...)
		if code != exitUsage || out != "" {
			t.Fatalf("%q: exit %d, output %q", arguments, code, out)
		}
		if diagnostics != want+"\n" {
			t.Fatalf("%q:\ngot  %swant %s", arguments, diagnostics, want)
		}
	}
	f("culvert: no command is given; see `culvert --help`")
	f("culvert: unknown command \"lod\", did you mean \"load\"?; see `culvert --help`", "lod", "--rate", "5")
	f("culvert: unknown command \"xyzzy\"; see `culvert --help`", "xyzzy")
	f("culvert: unknown flag: --nothing; see `culvert --help`", "--nothing")
	f("culvert: unknown flag: --rat; see `culvert load --help`", "load", "--rat", "5")
	f("culvert: required flag(s) \"to\" not set; see `culvert load --help`", "load")
	f("culvert: receiver \"x\" is not HOST:PORT: address x: missing port in address", "load", "--to", "x")
	f("culvert: receiver \"127.0.0.1:0\": port \"0\" is not in 1 to 65535", "load", "--to", "127.0.0.1:0")
	f("culvert: precision \"m\", want ns, us, ms or s", "load", "--to", "127.0.0.1:9", "--precision", "m")
	f("culvert: way \"x\", want auto, socket, xdp or live", "load", "--to", "127.0.0.1:9", "--via", "x")
	f("culvert: hardware address \"2\", want one such as 02:00:00:00:00:01", "load", "--to", "127.0.0.1:9",
		"--to-mac", "2")
	f("culvert: speed \"0x\", want one such as 1x, 0.5x or 10x", "load",
		"--to", "127.0.0.1:9", "--speed", "0x")
	f("culvert: a rate and a speed contradict each other", "load", "--to", "127.0.0.1:9", "--play", "x",
		"--speed", "1x", "--rate", "5")
	f("culvert: fault \"503\": it lacks a share; say 503:20%, 429:5%:2s or reset:1%", "sink", "--fail", "503")
	f("culvert: delay -1s is negative", "sink", "--delay", "-1s")
	f("culvert: --listen: address x: missing port in address", "sink", "--listen", "x")
	f("culvert: invalid argument \"loud\" for \"--log-level\" flag: want one of "+
		"[\"debug\" \"info\" \"warn\" \"error\"]; see `culvert version --help`",
		"version", "--log-level", "loud")
}

func TestHelpIsNoError(t *testing.T) {
	for _, arguments := range [][]string{
		{"--help"}, {"load", "--help"}, {"help", "sink"}, {"completion", "bash"},
	} {
		code, out, diagnostics := finish(t, arguments...)
		if code != exitDone || out == "" || diagnostics != "" {
			t.Fatalf("%q: exit %d, %q", arguments, code, diagnostics)
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := finish(t, "version")
	lines := strings.Split(out, "\n")
	if code != exitDone || len(lines) != 5 {
		t.Fatalf("exit %d: %s", code, out)
	}
	for i, want := range []string{"culvert ", "commit  ", "go      go1.", "kernel  "} {
		if !strings.HasPrefix(lines[i], want) || len(lines[i]) == len(want) {
			t.Errorf("line %d: %q", i+1, lines[i])
		}
	}
}

func TestLinkedVersion(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "culvert")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v1.2.3-test", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(binary, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "culvert v1.2.3-test\n") {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestExitCodes(t *testing.T) {
	f := func(want int, err error) {
		t.Helper()
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
	f(exitDone, nil)
	f(exitFailed, errors.New("x"))
	f(exitConfig, fmt.Errorf("start: %w", exit(exitConfig, errors.New("x"))))
	f(exitPrivilege, fmt.Errorf("open socket: %w", syscall.EPERM))
	f(exitPrivilege, fmt.Errorf("register UMEM: %w", syscall.ENOBUFS))
	f(exitPrivilege, fmt.Errorf("read: %w", fs.ErrPermission))
	f(exitPrivilege, &attach.Error{Kind: attach.Privilege})
	f(exitUnavailable, &attach.Error{Kind: attach.Missing})
	f(exitUnavailable, &attach.Error{Kind: attach.Unsupported})
	f(exitUnavailable, &gateway.PlanError{Absent: true})
	f(exitConfig, fmt.Errorf("start: %w", &gateway.PlanError{}))
	f(exitPrivilege, fmt.Errorf("register UMEM: %w", syscall.ENOBUFS))
	f(exitFailed, errors.Join(errors.New("x"), syscall.EIO))
	if got := oneLine(errors.Join(errors.New("a"), errors.New("b\n\tc"))); got != "a; b; c" {
		t.Errorf("on one line: %q", got)
	}
}

// Goal: load prints a report that agrees with what came, as JSON and as text.
func TestLoad(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	to := receiver.LocalAddr().String()
	code, out, diagnostics := finish(t, "load", "--to", to, "--count", "95",
		"--points-per-packet", "10", "--json")
	var report loadgen.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitDone || diagnostics != "" {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, diagnostics)
	}
	if report.Points != 95 || report.Packets != 10 {
		t.Fatalf("%+v", report)
	}
	lines, into := 0, make([]byte, 1<<16)
	receiver.SetReadDeadline(time.Now().Add(waitLimit))
	for range report.Packets {
		n, _, err := receiver.ReadFrom(into)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(into[:n], []byte{'\n'})
	}
	if lines != 95 {
		t.Fatalf("%d lines arrived", lines)
	}
	code, out, _ = finish(t, "load", "--to", to, "--count", "5")
	if code != exitDone || !strings.HasPrefix(out, "5 points in 5 packets (") {
		t.Fatalf("exit %d: %s", code, out)
	}
}

// Goal: a rate that cannot be held ends with 1 and says what was reached.
func TestLoadTooFast(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	code, _, diagnostics := finish(t, "load", "--to", receiver.LocalAddr().String(), "--rate", "1e11",
		"--duration", "20ms")
	want := "culvert: hold 100000000000 points/s: reached "
	if code != exitFailed || !strings.HasPrefix(diagnostics, want) {
		t.Fatalf("exit %d: %s", code, diagnostics)
	}
}

// Goal: SIGINT ends load with its report and exit code 0, though the schedule is not done.
func TestLoadInterrupted(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	command := culvert(t, "load", "--to", receiver.LocalAddr().String(), "--rate", "1000",
		"--duration", "1h", "--json")
	var out bytes.Buffer
	command.Stdout = &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	receiver.SetReadDeadline(time.Now().Add(waitLimit))
	if _, _, err := receiver.ReadFrom(make([]byte, 1<<16)); err != nil {
		command.Process.Kill()
		t.Fatal(err)
	}
	command.Process.Signal(syscall.SIGINT)
	err = command.Wait()
	var report loadgen.Report
	if err = errors.Join(err, json.Unmarshal(out.Bytes(), &report)); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if !report.Interrupted || report.Points == 0 {
		t.Fatalf("%+v", report)
	}
}

// Goal: sink serves until SIGTERM, then reports and ends with 0; a second one on its port is refused in one
// line.
func TestSink(t *testing.T) {
	command := culvert(t, "sink", "--listen", "127.0.0.1:0")
	pipe, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(waitLimit, func() { command.Process.Kill() })
	defer timer.Stop()
	reader := bufio.NewReader(pipe)
	first, err := reader.ReadString('\n')
	address, found := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	if err != nil || !found {
		t.Fatalf("%q, %v", first, err)
	}
	response, err := http.Post("http://"+address+"/write?db=x", "", strings.NewReader("m v=1 1\nm v=2 2\n"))
	if err != nil || response.StatusCode != http.StatusNoContent {
		t.Fatalf("%v, %v", response, err)
	}
	response.Body.Close()
	if response, err = http.Get("http://" + address + "/stats"); err != nil {
		t.Fatal(err)
	}
	var stats fakesink.Stats
	if err := json.NewDecoder(response.Body).Decode(&stats); err != nil || stats.Points != 2 {
		t.Fatalf("%+v, %v", stats, err)
	}
	response.Body.Close()
	code, _, diagnostics := finish(t, "sink", "--listen", address)
	want := fmt.Sprintf("culvert: listen on %s: address already in use; "+
		"choose another address with --listen\n", address)
	if code != exitCode(syscall.EADDRINUSE) || diagnostics != want {
		t.Fatalf("exit %d: %s", code, diagnostics)
	}
	command.Process.Signal(syscall.SIGTERM)
	var last string
	for {
		text, err := reader.ReadString('\n')
		if err != nil {
			break
		}
		last = text
	}
	if err := command.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(last, "2 points in 1 requests (16 bytes) in ") {
		t.Fatalf("last line: %q", last)
	}
}
