package dataplane

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"culvert/dataplane/udp"
)

// openDoorOn opens a kernel socket on a port of the kernel's choice, hands it to the worker, and returns it
// with a sender.
func openDoorOn(t *testing.T, w *Worker) (*Door, net.Conn) {
	t.Helper()
	socket, err := udp.Open(udp.Config{Memory: make([]byte, udp.MemorySize(16)), ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	w.config.Listeners[0].Port = socket.Port()
	door := NewDoor(socket.Port(), socket)
	if err := w.AddDoor(door); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", socket.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return door, conn
}

func sendPoints(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	for i := range n {
		if _, err := fmt.Fprintf(conn, "m v=%d %d", i, i+1); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: a drain ends the intake of kernel sockets: senders that go on neither hold it up nor lose points
// without a count. Method: what is sent after Drain must be the kernel's drops, not received points.
func TestDrainEndsIntake(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	w, err := Start(workerConfig(t, server.URL, false))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	door, conn := openDoorOn(t, w)
	sendPoints(t, conn, 20)
	if err := w.Drain(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	sendPoints(t, conn, 5)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := w.Counters()
	if c.FramesReceived != 20 || c.DatagramsReceived != 20 || c.PointsWritten != 20 ||
		door.KernelDrops() != 5 {
		t.Fatalf("%d kernel drops, counters %+v", door.KernelDrops(), c)
	}
}

// Goal: a worker that is closed without a drain, as after a failed start, leaves no point in flight. Method:
// points in an open batch that no timer seals.
func TestCloseSettlesOpenBatch(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", false)
	config.Sinks[0].Age, config.Sinks[0].Linger = math.MaxInt64/4, math.MaxInt64/4
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = w.Do(func() error {
		packet, metadata := frame("m v=1 1\nm v=2 2", w.clock.Now())
		var payload Payload
		openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters)
		w.eat(&payload, false)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := w.Counters()
	if c.PointsDropped[DropUndelivered] != 2 || c.PointsInFlight != 0 || c.PointsIn() != c.PointsOut() {
		t.Fatalf("%+v", c)
	}
}

// Goal: others may wake a worker while its waker is being closed. Method: the race detector.
func TestWakeAgainstClose(t *testing.T) {
	w, err := NewWaker()
	if err != nil {
		t.Fatal(err)
	}
	w.sleeping.Store(true)
	done := make(chan struct{})
	go func() {
		for range 1000 {
			w.Wake()
		}
		close(done)
	}()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

// Goal: a worker that is stuck holds up nobody for ever: a question has no answer after a second, and that is
// an error. Method: a command that waits until the test lets it go.
func TestStuckWorkerHoldsUpNobody(t *testing.T) {
	w, err := Start(workerConfig(t, "http://127.0.0.1:9", true))
	if err != nil {
		t.Fatal(err)
	}
	release, stuck := make(chan struct{}), make(chan struct{})
	w.post(func() {
		close(stuck)
		<-release
	})
	<-stuck
	if _, err := w.SinkStates(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a stuck worker answers: %v", err)
	}
	close(release)
	if _, err := w.SinkStates(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
