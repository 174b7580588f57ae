package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"culvert/scripts/testenv"
)

// tunnel is a proxy that knows one server, whatever name it is asked for.
type tunnel struct {
	url, server string
	mutex       sync.Mutex
	asked       []string
}

func newTunnel(t *testing.T, lab *testenv.Lab, server string) *tunnel {
	t.Helper()
	listener := listen(t, lab)
	p := &tunnel{url: "http://" + listener.Addr().String(), server: server}
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mutex.Lock()
		p.asked = append(p.asked, r.Method+" "+r.Host)
		p.mutex.Unlock()
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var far net.Conn
		err := lab.Gateway.Do(func() (err error) {
			far, err = net.Dial("tcp", p.server)
			return err
		})
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer far.Close()
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			io.Copy(far, near)
			far.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(near, far)
	})}
	go proxy.Serve(listener)
	t.Cleanup(func() { proxy.Close() })
	return p
}

// Goal: a sink by https whose name only the proxy knows is reached through it, and one by http is not, which
// is said. Method: a server with a certificate for example.com behind a tunnel, and one beside it.
func TestPrivSinkBehindAProxy(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	plain := newRecorder(t, lab)
	far := &recorder{}
	server := httptest.NewUnstartedServer(far)
	server.Listener.Close()
	server.Listener = listen(t, lab)
	server.StartTLS()
	t.Cleanup(server.Close)
	proxy := newTunnel(t, lab, server.Listener.Addr().String())
	ca := write(t, t.TempDir(), "ca.pem", string(pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	command := exec.Command(culvert, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks:
  - {name: main, urls: ["https://example.com:8086"], database: telemetry, tls: {ca_file: %s}}
  - {name: beside, urls: [%s], database: telemetry}
tenants: [{name: a, sink: main}, {name: b, sources: [10.99.0.0/16], sink: beside}]
`, lab.GatewayInterface, port, ca, plain.url)))
	// Go never asks a proxy for loopback, so that the sink beside has nothing to warn of.
	command.Env = append(os.Environ(), "HTTPS_PROXY="+proxy.url, "HTTP_PROXY="+proxy.url, "NO_PROXY=")
	g := startCommand(t, lab, command)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	const points = 20
	for n := range points {
		fmt.Fprintf(conn, "m v=%d %d", n, n+1)
	}
	s := g.settled(points)
	if s.Ledger.Written != points || s.Ledger.Residue != 0 || len(far.all()) != points {
		t.Fatalf("%d points came: %+v", len(far.all()), s.Ledger)
	}
	proxy.mutex.Lock()
	defer proxy.mutex.Unlock()
	for _, asked := range proxy.asked {
		if asked != "CONNECT example.com:8086" {
			t.Errorf("the proxy was asked for %q", asked)
		}
	}
	if !strings.Contains(g.output.String(), "through the environment's proxy") {
		t.Errorf("the log does not say so: %s", g.output.String())
	}
}
