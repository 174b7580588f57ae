// Package lab is the network lab of demo and benchmarks, as scripts/lab.sh makes it: two namespaces joined by
// a veth pair, the programs that run in them, the claim that keeps two users apart, and a private InfluxDB.
//
// Tests have a lab of their own in scripts/testenv, which needs no files and ends with the test.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// What scripts/lab.sh makes.
const (
	GatewayInterface = "gw0"
	GatewayAddr      = "10.88.0.1"
	SenderInterface  = "tx0"
	SenderAddr       = "10.88.0.2"
	script           = "scripts/lab.sh"
)

// Namespace is one of the lab's network namespaces, by name.
type Namespace string

// path is where the namespace can be entered.
func (n Namespace) path() string { return "/run/netns/" + string(n) }

const (
	gatewayNamespace Namespace = "culvert-gw"
	senderNamespace  Namespace = "culvert-tx"
)

// Lab is the pair of namespaces that scripts/lab.sh makes.
type Lab struct {
	Gateway, Sender Namespace
}

// Open makes the lab. One that is there already is somebody's, who may be using it by hand.
func Open(queues int) (*Lab, error) {
	lab := &Lab{Gateway: gatewayNamespace, Sender: senderNamespace}
	if _, err := os.Stat(lab.Gateway.path()); err == nil {
		return nil, errors.New("make the lab: it is there already; `make lab-down` removes it")
	}
	if err := command(queues, "up"); err != nil {
		return nil, err
	}
	return lab, nil
}

// Close ends what still runs in the lab and removes it.
func (l *Lab) Close() error { return Remove() }

// Remove removes a lab, also one that a run that died left behind, and ends what runs in it.
func Remove() error {
	senderNamespace.endAll()
	gatewayNamespace.endAll()
	return command(1, "down")
}

func command(queues int, verb string) error {
	cmd := exec.Command(script, verb)
	cmd.Env = append(os.Environ(), "QUEUES="+strconv.Itoa(queues))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s %s: %w: %s", script, verb, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// endAll ends every process in the namespace.
func (n Namespace) endAll() {
	out, err := exec.Command("ip", "netns", "pids", string(n)).Output()
	if err != nil {
		return // There is no such namespace.
	}
	for _, field := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Client is an HTTP client whose connections begin in the gateway's namespace.
func (l *Lab) Client() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: l.Gateway.Dial}}
}

// Dial connects from inside the namespace. A socket belongs to the namespace of the thread that made it and
// stays there.
func (n Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		connection net.Conn
		err        error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread is in another namespace and must end with this goroutine.
		runtime.LockOSThread()
		handle, err := netns.GetFromPath(n.path())
		if err == nil {
			err = netns.Set(handle)
			handle.Close()
		}
		if err != nil {
			done <- result{nil, fmt.Errorf("enter namespace %q: %w", string(n), err)}
			return
		}
		// With one literal address the dialer makes the socket on this thread.
		connection, err := new(net.Dialer).DialContext(ctx, network, address)
		done <- result{connection, err}
	}()
	got := <-done
	return got.connection, got.err
}
