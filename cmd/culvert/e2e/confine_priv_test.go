package e2e

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/controlplane/confine"
	"culvert/scripts/testenv"
)

// watched, in the environment of this test binary, makes it run culvert below a filter of its own instead of
// tests: with the gateway's list and what a start needs, but a call outside of it ends the process by SIGSYS,
// with its stack. Of two filters the kernel obeys the harder, so that nothing that the gateway's own refuses
// goes unseen.
const watched = "CULVERT_TEST_WATCHED"

// startCalls are what a program makes until it has confined itself.
func startCalls() []uintptr {
	calls := []uintptr{unix.SYS_EXECVE, unix.SYS_CAPSET, unix.SYS_SECCOMP, unix.SYS_LANDLOCK_CREATE_RULESET,
		unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF}
	if runtime.GOARCH == "amd64" {
		const archPrctl = 158 // only this machine has it
		calls = append(calls, archPrctl)
	}
	return calls
}

// runWatched never returns.
func runWatched() {
	runBelow(confine.Filter(unix.SECCOMP_RET_TRAP, startCalls()...), os.Getenv(watched))
}

// runBelow becomes another program below a filter of system calls. It never returns.
func runBelow(filter []unix.SockFilter, binary string) {
	runtime.LockOSThread()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
			uintptr(unsafe.Pointer(&program))); errno != 0 {
			err = errno
		}
	}
	if err == nil {
		err = syscall.Exec(binary, append([]string{binary}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "run below a filter:", err)
	os.Exit(1)
}

// serviceCapabilities are those that the unit gives.
func serviceCapabilities() []uintptr {
	return []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_IPC_LOCK}
}

// watchedCommand is culvert as the unit runs it, below the filter of runWatched.
func watchedCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	// The folder that `go test` builds in is closed to others.
	self := filepath.Join(publicDir(t), "watch")
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	command := nobodyWith(serviceCapabilities(), arguments...)
	command.Path = self
	command.Env = append(os.Environ(), watched+"="+culvert)
	return command
}

// nobodys is a folder that the unprivileged user owns.
func nobodys(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return path
}

// threadStatus are the values of one line of /proc/PID/status over all threads, each once.
func (g *gateway) threadStatus(key string) (values []string) {
	g.t.Helper()
	pattern := fmt.Sprintf("/proc/%d/task/*/status", g.command.Process.Pid)
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		g.t.Fatalf("%s: %v", pattern, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that ended
		}
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, key+":"); found {
				values = append(values, strings.TrimSpace(value))
			}
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// Goal: whoever starts the gateway, it holds what it needs and nothing more, on all threads and for good, and
// says so. Method: root and the unit's user, and the kernel's own view of each thread.
func TestPrivPrivilegesAreGivenUp(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON, unix.CAP_IPC_LOCK)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	var kept uint64
	for _, bit := range serviceCapabilities() {
		kept |= 1 << bit
	}
	for _, user := range []string{"root", "nobody"} {
		folder := publicDir(t)
		nobodys(t, folder, "state")
		config := write(t, folder, "culvert.yaml", minimal(lab.GatewayInterface, sink.url)+
			"state_dir: "+filepath.Join(folder, "state")+"\n")
		command, want := asRoot(exec.Command(culvert, "run", "-c", config)), kept|1<<unix.CAP_SYS_NICE
		if user == "nobody" {
			command, want = nobodyWith(serviceCapabilities(), "run", "-c", config), kept
		} else if err := os.Chown(filepath.Join(folder, "state"), 0, 0); err != nil {
			t.Fatal(err)
		}
		g := startCommand(t, lab, command)
		g.ready()
		sets := map[string]string{"CapEff": fmt.Sprintf("%016x", want), "CapPrm": fmt.Sprintf("%016x", want),
			"CapInh": fmt.Sprintf("%016x", 0), "CapAmb": fmt.Sprintf("%016x", 0), "NoNewPrivs": "1",
			"Seccomp": fmt.Sprint(unix.SECCOMP_MODE_FILTER)}
		if user == "root" {
			// Who is not root lacks CAP_SETPCAP, and systemd has bounded the service before.
			sets["CapBnd"] = sets["CapEff"]
		}
		for key, want := range sets {
			if got := g.threadStatus(key); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %q, want %s", user, key, got, want)
			}
		}
		s, err := g.status()
		if err != nil || s.Confinement == nil {
			t.Fatalf("%+v, %v", s, err)
		}
		c := s.Confinement
		// A virtual machine has no list of names.
		number := map[string]string{"root": "0", "nobody": fmt.Sprint(nobody)}[user]
		if !c.Dropped || c.User != user && c.User != number ||
			!slices.Contains(c.Capabilities, "CAP_NET_RAW") ||
			slices.Contains(c.Capabilities, "CAP_SYS_NICE") != (user == "root") ||
			!strings.HasPrefix(c.Syscalls, "limited to") {
			t.Errorf("%s: %+v", user, c)
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}

// secureSink is an InfluxDB by https, with the certificate of who may sign for it.
func secureSink(t *testing.T, lab *testenv.Lab, folder string) (url, authority string,
	writes *atomic.Uint64) {
	t.Helper()
	writes = new(atomic.Uint64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 && r.URL.Path == "/write" {
			writes.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Listener.Close()
	server.Listener = listen(t, lab)
	server.StartTLS()
	t.Cleanup(server.Close)
	authority = write(t, folder, "authority.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: server.Certificate().Raw})))
	return server.URL, authority, writes
}

// Goal: nothing that a gateway does in its life is refused by its filter or by Landlock: start on a pinned
// link, load, a name that is looked up, alerts by every kind of action, an outage with spool and recovery,
// https, reload by HTTP and signal, a link that goes down and up, status, profiles, checkpoints, rejects,
// traces, busy polling, several workers on one queue (where there are CPUs for them), stop. Method: below a
// second filter that ends the process at the first refusal.
func TestPrivConfinedLife(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON, unix.CAP_IPC_LOCK)
	lab := testenv.NewLab(t, 1)
	pinsOfService(t, lab)
	nameServer(t, lab)
	sink := newRecorder(t, lab)
	var down atomic.Bool
	sink.refuse = func(w http.ResponseWriter) bool {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return down.Load()
	}
	plc, folder := listenDatagrams(t, lab), publicDir(t)
	secure, authority, secured := secureSink(t, lab, nobodys(t, folder, "tls"))
	hook, hooked := webhook(t, lab)
	local, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "nobody.socket"),
		Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if err := os.Chmod(filepath.Join(folder, "nobody.socket"), 0o666); err != nil {
		t.Fatal(err)
	}
	nobodys(t, folder, "state")
	nobodys(t, folder, "rules")
	write(t, filepath.Join(folder, "rules"), "a.yaml",
		hot("        actions: [plc, hook, local, db, journal]\n"))
	config := write(t, folder, "culvert.yaml", fmt.Sprintf(`interfaces:
  - {name: %s, mode: native, busy_poll: on, queues_fanout: flow}
listeners: [{name: plant, port: %d}, {name: safe, port: 8090}]
tenants:
  - {name: open, listeners: [plant], sink: main}
  - {name: shut, listeners: [safe], sink: secure}
workers: {frames: 1024}
rules: {files: [rules/*.yaml], checkpoint: 1s}
notifiers:
  - {name: plc, type: udp, address: %q}
  - {name: hook, type: webhook, url: %[8]q}
  - {name: local, type: unix, address: %[4]s/nobody.socket}
  - {name: db, type: influxdb, url: "%[5]s/write?db=alerts"}
  - {name: journal, type: log}
sinks:
  - {name: main, urls: [%[5]q], database: telemetry, retry: {attempts: 2, first: 10ms, max: 50ms}}
  - {name: secure, urls: [%[6]q], database: telemetry, tls: {ca_file: %[7]s}, gzip: true}
spool: {dir: state/spool, sync: 20ms}
state_dir: %[4]s/state
rejects: {dir: state/rejects}
traces: {exporter: file, endpoint: %[4]s/state/traces.json, one_in: 1}
`, lab.GatewayInterface, port, plc.LocalAddr(), folder,
		strings.Replace(sink.url, "127.0.0.1", "localhost", 1), secure, authority,
		strings.Replace(hook, "127.0.0.1", "receiver.example", 1)))
	if code, output := attachAsService(t, lab, config); code != 0 {
		t.Fatalf("attach: exit code %d, %s", code, output)
	}
	g := startCommand(t, lab, watchedCommand(t, "run", "-c", config))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	send := func(n int, line string) {
		t.Helper()
		for range n {
			if _, err := fmt.Fprint(conn, line); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(20, "motor,machine=m1 temperature=99")
	send(1, "no line")
	s := g.emptied(21)
	if in := interfaceOf(t, s, lab.GatewayInterface); !in.Adopted || s.Packets.Redirected != 21 ||
		s.Workers[0].Transport != "io_uring" {
		t.Fatalf("%+v, %+v, %+v", in, s.Packets, s.Workers[0])
	}
	safe := udpSenderTo(t, lab, lab.GatewayIPv4, 8090)
	fmt.Fprint(safe, "m v=1")
	g.emptied(22)
	down.Store(true)
	send(20, "motor,machine=m2 temperature=99")
	eventually(t, "points wait in the spool", func() error {
		s, err := g.status()
		if err == nil && s.Ledger.SpoolPending < 20 {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	down.Store(false)
	g.emptied(42)
	<-hooked // by a name that was looked up
	g.livesOn()
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if !xdpOf(t, lab) || secured.Load() != 1 || strings.Contains(g.output.String(), "not permitted") ||
		strings.Contains(g.output.String(), "permission denied") {
		t.Fatalf("attached: %t, %d writes by https, %s", xdpOf(t, lab), secured.Load(), g.output)
	}
	for _, file := range []string{"spool", "traces.json"} {
		if _, err := os.Stat(filepath.Join(folder, "state", file)); err != nil {
			t.Error(err)
		}
	}
}

// livesOn has the gateway do what it does seldom: reloads, profiles, a link that goes away.
func (g *gateway) livesOn() {
	t := g.t
	t.Helper()
	if code, output := g.reload(); code != 0 {
		t.Fatalf("reload: %d, %q", code, output)
	}
	g.command.Process.Signal(syscall.SIGHUP)
	for _, path := range []string{"/metrics", "/", "/health/live", "/api/v1/rules", "/api/v1/alerts",
		"/api/v1/rejects", "/debug/pprof/profile?seconds=1", "/debug/pprof/heap",
		"/debug/pprof/goroutine?debug=2",
		"/debug/pprof/trace?seconds=0.1", "/debug/pprof/cmdline", "/debug/flight", "/debug/flight"} {
		// The first question for a flight begins its recording.
		if code, body, err := g.get(path); err != nil || code/100 != 2 {
			t.Errorf("%s: %d, %.200q, %v", path, code, body, err)
		}
	}
	for _, set := range []func(netlink.Link) error{netlink.LinkSetDown, netlink.LinkSetUp} {
		gatewayLink(t, g.lab, set)
		time.Sleep(50 * time.Millisecond)
	}
	g.ready()
}
