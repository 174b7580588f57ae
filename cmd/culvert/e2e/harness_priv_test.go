package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// culvert is the culvert under test, built once by TestMain.
var culvert string

func TestMain(m *testing.M) {
	if os.Getenv(watched) != "" {
		runWatched()
	}
	if answer := os.Getenv(ringRefused); answer != "" {
		runWithoutRing(answer)
	}
	code := 1
	defer func() { os.Exit(code) }()
	culvert = os.Getenv("CULVERT_BINARY")
	if culvert == "" {
		dir, err := os.MkdirTemp("", "culvert-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		defer os.RemoveAll(dir)
		// Another user must be able to run it.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		culvert = filepath.Join(dir, "culvert")
		build := exec.Command("go", "build", "-o", culvert, "culvert/cmd/culvert")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build culvert: %v\n%s", err, out)
			return
		}
	}
	code = m.Run()
}

// waitLimit is how long a test waits for something that takes milliseconds on an idle machine.
const waitLimit = time.Minute

// eventually polls until a condition holds, and fails the test with its last complaint if it never does.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(testenv.Sized(20*time.Millisecond, 50*time.Millisecond))
	}
}

// lockedBuffer collects a process's output while the test reads it.
type lockedBuffer struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.String()
}

// gateway is one `culvert run` in the lab's gateway namespace.
type gateway struct {
	t       *testing.T
	lab     *testenv.Lab
	command *exec.Cmd
	output  *lockedBuffer
	client  *http.Client
	exited  chan struct{}
	err     error
}

// start runs culvert in the gateway's namespace. The process ends with the test.
func start(t *testing.T, lab *testenv.Lab, arguments ...string) *gateway {
	t.Helper()
	return startCommand(t, lab, exec.Command(culvert, arguments...))
}

func startCommand(t *testing.T, lab *testenv.Lab, command *exec.Cmd) *gateway {
	t.Helper()
	g := &gateway{t: t, lab: lab, command: command, output: &lockedBuffer{}, exited: make(chan struct{})}
	g.command.Stdout, g.command.Stderr = g.output, g.output
	asService(t, lab, command)
	// A child belongs to the namespace of the thread that starts it.
	if err := lab.Gateway.Do(g.command.Start); err != nil {
		t.Fatalf("start culvert: %v", err)
	}
	go func() {
		g.err = g.command.Wait()
		close(g.exited)
	}()
	g.client = namespaceClient(lab)
	t.Cleanup(func() {
		if t.Failed() {
			// The Go runtime writes all goroutines' stacks and ends.
			g.command.Process.Signal(syscall.SIGQUIT)
			select {
			case <-g.exited:
			case <-time.After(time.Second):
			}
		}
		g.kill()
		if t.Failed() {
			t.Logf("culvert's output:\n%s", g.output)
		}
	})
	return g
}

// namespaceClient is an HTTP client inside the gateway's namespace.
func namespaceClient(lab *testenv.Lab) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			err = lab.Gateway.Do(func() error { conn, err = net.Dial(network, address); return err })
			return conn, err
		},
	}}
}

// kill ends the process by SIGKILL and waits for its end.
func (g *gateway) kill() {
	g.command.Process.Kill()
	<-g.exited
}

// stop ends the process by SIGTERM and returns its exit code.
func (g *gateway) stop() int {
	g.t.Helper()
	g.command.Process.Signal(syscall.SIGTERM)
	return g.wait()
}

// wait waits for the process to end by itself and returns its exit code.
func (g *gateway) wait() int {
	g.t.Helper()
	select {
	case <-g.exited:
	case <-time.After(waitLimit):
		g.t.Fatalf("culvert does not end")
	}
	return g.command.ProcessState.ExitCode()
}

// get asks the gateway's HTTP interface.
func (g *gateway) get(path string) (int, string, error) {
	response, err := g.client.Get("http://127.0.0.1:9490" + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// exposes checks that the metrics have these lines.
func (g *gateway) exposes(lines ...string) {
	g.t.Helper()
	_, metrics, err := g.get("/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, line := range lines {
		if !strings.Contains(metrics, line+"\n") {
			g.t.Errorf("no %s in\n%s", line, metrics)
		}
	}
}

func (g *gateway) status() (*telemetry.Status, error) {
	_, body, err := g.get("/api/v1/status")
	if err != nil {
		return nil, err
	}
	var s telemetry.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		return nil, fmt.Errorf("read the status %q: %w", body, err)
	}
	return &s, nil
}

// ready waits until the gateway says that it is.
func (g *gateway) ready() {
	g.t.Helper()
	eventually(g.t, "ready", func() error {
		select {
		case <-g.exited:
			g.t.Fatalf("culvert ended: %v", g.err)
		default:
		}
		code, body, err := g.get("/health/ready")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
}

// settled waits until this many points came in and nothing is in flight, and checks that the ledger balances.
func (g *gateway) settled(received uint64) *telemetry.Status {
	g.t.Helper()
	var s *telemetry.Status
	eventually(g.t, "settled", func() (err error) {
		if s, err = g.status(); err != nil {
			return err
		}
		if s.Ledger.Received != received || s.Ledger.InFlight != 0 {
			return fmt.Errorf("%d points received (want %d), %d in flight",
				s.Ledger.Received, received, s.Ledger.InFlight)
		}
		return nil
	})
	if s.Ledger.Residue != 0 {
		g.t.Fatalf("the ledger does not balance: %+v", s.Ledger)
	}
	return s
}

// write puts a file into the test's folder and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// recorder is a sink that keeps every line it is given. It listens in the gateway's namespace.
type recorder struct {
	mutex sync.Mutex
	lines []string
	url   string
	// refuse (optional, set before the first request) answers a request itself and returns true, or does
	// nothing.
	refuse func(w http.ResponseWriter) bool
}

// listen opens a TCP port of loopback in the gateway's namespace; whoever serves it closes it.
func listen(t *testing.T, lab *testenv.Lab) (listener net.Listener) {
	t.Helper()
	err := lab.Gateway.Do(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func newRecorder(t *testing.T, lab *testenv.Lab) *recorder {
	t.Helper()
	r := &recorder{}
	listener := listen(t, lab)
	r.url = "http://" + listener.Addr().String()
	server := &http.Server{Handler: r}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return r
}

// ServeHTTP takes a request's lines.
func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil || r.refuse != nil && r.refuse(w) {
		return
	}
	r.mutex.Lock()
	r.lines = append(r.lines, strings.SplitAfter(strings.TrimSuffix(string(body), "\n"), "\n")...)
	r.mutex.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// all is what came so far, one line each, without line feeds.
func (r *recorder) all() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	lines := make([]string, len(r.lines))
	for i, line := range r.lines {
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	return lines
}

// need asks for what the gateway needs of the machine.
func need(t *testing.T) {
	t.Helper()
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_SYS_ADMIN)
}

// besideOthers is for a test that does nothing for most of ten seconds or more, since a clock decides when
// something happens: it runs beside others of its kind, when all else is done.
func besideOthers(t *testing.T) {
	t.Helper()
	t.Parallel()
}
