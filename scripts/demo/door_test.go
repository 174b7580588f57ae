package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Goal: what is asked at the door is answered behind it, a door whose address is taken is at another port,
// and its end ends what is still open, such as a dashboard's stream.
func TestDoor(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "event for %s\n", r.URL.Path)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	defer behind.Close()
	taken := behind.Listener.Addr().String()
	door, err := OpenDoor(taken, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", taken)
	})
	if err != nil {
		t.Fatal(err)
	}
	if door.URL() == behind.URL {
		t.Errorf("the door is at %s, which is taken", door.URL())
	}
	client := &http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(door.URL() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, len("event for /stream\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "event for /stream\n" {
		t.Errorf("%q, %v", first, err)
	}
	if err := door.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("the stream goes on behind a closed door: %q", rest)
	}
	if _, err := client.Get(door.URL()); err == nil {
		t.Error("a closed door was opened")
	}
}

// Goal: who comes while there is nobody behind the door is sent away at once.
func TestDoorToNowhere(t *testing.T) {
	door, err := OpenDoor("127.0.0.1:0", func(context.Context) (net.Conn, error) {
		return nil, fmt.Errorf("nobody is here")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	if _, err := (&http.Client{Timeout: 20 * time.Second}).Get(door.URL()); err == nil {
		t.Error("somebody answered")
	}
}
