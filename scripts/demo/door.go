package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Door lets this host's programs, a browser first of all, reach the gateway in its namespace: what connects
// to a port of this host's loopback is connected to the gateway's.
type Door struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)

	ctx    context.Context // of the connections
	cancel context.CancelFunc
	under  sync.WaitGroup // connections, and what takes them
}

// OpenDoor takes this address, or, where another gateway has it, any port of the same host.
func OpenDoor(address string, dial func(ctx context.Context) (net.Conn, error)) (*Door, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		host, _, split := net.SplitHostPort(address)
		if split != nil {
			return nil, fmt.Errorf("open a door at %q: %w", address, split)
		}
		if listener, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
			return nil, fmt.Errorf("open a door on %q: %w", host, err)
		}
	}
	d := &Door{listener: listener, dial: dial}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.under.Go(d.take)
	return d, nil
}

// URL is where a browser finds the gateway.
func (d *Door) URL() string { return "http://" + d.listener.Addr().String() }

// Close ends all connections.
func (d *Door) Close() error {
	d.cancel()
	err := d.listener.Close()
	d.under.Wait()
	return err
}

func (d *Door) take() {
	for {
		outside, err := d.listener.Accept()
		if err != nil {
			return // The door is closed.
		}
		d.under.Go(func() { d.join(outside) })
	}
}

// join copies both ways until one side ends, or the door is closed. Whoever cannot reach the gateway finds
// the connection closed.
func (d *Door) join(outside net.Conn) {
	defer outside.Close()
	inside, err := d.dial(d.ctx)
	if err != nil {
		return
	}
	defer inside.Close()
	defer context.AfterFunc(d.ctx, func() {
		outside.Close()
		inside.Close()
	})()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(outside, inside)
		outside.Close()
	})
	_, _ = io.Copy(inside, outside)
	inside.Close()
	back.Wait()
}
