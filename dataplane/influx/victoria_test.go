package influx

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// startVictoria runs VictoriaMetrics, which speaks the API of version 2, and returns its address.
func startVictoria(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("victoria-metrics")
	if err != nil {
		testenv.Skip(t, "victoria-metrics is missing (install the package of that name)")
	}
	address := freePort(t)
	var log bytes.Buffer
	command := exec.Command(path, "-httpListenAddr", address, "-storageDataPath", t.TempDir(),
		"-loggerLevel", "ERROR")
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/health")
		if err == nil {
			answer.Body.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("victoria-metrics does not answer: %v\n%s", err, &log)
		}
	}
}

// inserted is how many values the server says that it took by this API. Queries see them only later.
func inserted(t *testing.T, address string) (rows int) {
	t.Helper()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), `vm_rows_inserted_total{type="influx"} %d`, &rows); err == nil {
			return rows
		}
	}
	t.Fatal("the server does not count what it took")
	return 0
}

// Goal: a real server that speaks version 2 takes exactly what the outcomes say, however the bytes leave.
func TestVictoriaMetrics(t *testing.T) {
	address := startVictoria(t)
	overBoth(t, func(t *testing.T, ring bool) {
		config, err := Target(TargetConfig{
			URL: &url.URL{Scheme: "http", Host: address}, Org: "o", Bucket: "b", Token: "t",
		})
		if err != nil {
			t.Fatal(err)
		}
		policy := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		config.Address = netip.MustParseAddrPort(address)
		config.Connections, config.Timeout, config.Retry = 2, policy.Timeout, policy.Retry
		r := newRig(t, ring, 1<<18, config)
		name := fmt.Sprintf("written_by_ring_%t", ring)
		const batches, each = 10, 200
		before := inserted(t, address)
		for b := range batches {
			var lines []string
			for i := range each {
				n := b*each + i
				lines = append(lines, fmt.Sprintf("%s,n=%d v=%d %d", name, n, i, time.Now().UnixNano()))
			}
			r.submit(lines...)
		}
		for range batches {
			r.expect(each, 0, 0, ReasonNone, 204)
		}
		// The server's counters are a moment late.
		n := 0
		r.until("count", func() bool {
			n = inserted(t, address) - before
			return n >= batches*each
		})
		if n != batches*each {
			t.Fatalf("the database took %d values, want %d", n, batches*each)
		}
	})
}
