package influx

import (
	"fmt"
	"net/netip"
	"time"

	"culvert/dataplane/uring"
)

// Retry says how often and when a request that failed is made again.
type Retry struct {
	// Attempts is how many requests a batch may have that failed for a reason of its own or for none that is
	// known. Failed connects and refused credentials spend none.
	Attempts int
	// First is the wait after the first failure; each further one is twice as long, up to Max.
	First, Max time.Duration
	// Jitter is the share by which a wait varies either way, 0 to 1.
	Jitter float64
}

// age is how old a batch may get in the writer, in nanoseconds, before it counts as undelivered: as long as
// its attempts could take if each waited for the longest time.
func (r *Retry) age() int64 { return int64(r.Attempts) * int64(r.Max) }

// Config is what a Writer needs. Target fills in the parts about the server.
type Config struct {
	// Address is where to connect to. The zero address means that the name is not resolved yet: the writer
	// waits for Retarget.
	Address netip.AddrPort
	// Host and Path stand in the request's head.
	Host, Path string
	// Authorization (optional) is the header's value.
	Authorization string
	// UserAgent (optional) is the header's value; empty means "culvert".
	UserAgent string
	// Connections is how many keep-alive connections there are, each with one request at a time.
	Connections int
	// Timeout bounds a connect, and a request from its first byte to the answer's last.
	Timeout time.Duration
	Retry   Retry
	// Ring (optional) is the worker's; nil means plain non-blocking sockets.
	Ring *uring.Ring
	// Tag stands in the top bits of the tokens of this writer's operations, so that several can share a ring.
	Tag uint8
	// ZeroCopyMin is the size in bytes from which bodies are sent without copying; 0 means 16 KiB, negative
	// never.
	ZeroCopyMin int
	// Pool is where the batches come from.
	Pool *Pool
	// Memory is MemorySize bytes outside of the Go heap, for heads, answers and addresses. It stays the
	// caller's and is in use until the writer and the ring are closed.
	Memory []byte
	// Remote (optional) carries the requests by net/http on goroutines, for TLS and compression; Ring and
	// Address then have no part in it.
	Remote *RemoteConfig
	// Aside tells that the caller keeps what cannot be delivered now: such batches settle with Outcome.Aside
	// instead of Undelivered, soon after the breaker has opened, when the retry budget is spent, and when
	// less than a quarter of the pool's batches is free.
	Aside bool
	// NoRelief, with Aside, lets the pool run out rather than that what waits is set aside for it.
	NoRelief bool
	// Ordered lets no batch pass another; it takes exactly one connection.
	Ordered bool
	// Seed (optional) is where jitter begins.
	Seed uint64
}

const (
	// zeroCopyDefault is the size from which sending in place pays: below it pinning and notifying cost more
	// than the copy.
	zeroCopyDefault = 16 << 10
	// attemptsPerConnection is how many attempts a connection may have outstanding: one that is answered or
	// given up still holds its memory until the kernel has let go.
	attemptsPerConnection = 8
	// receiveSize is what one receive takes: a success is some 300 bytes, and long error texts come in
	// pieces.
	receiveSize = 4 << 10
	// addressSize holds a struct sockaddr_in6, in a cache line of its own.
	addressSize = 64
	// messageSize holds a struct msghdr and two struct iovec.
	messageSize = 128
	// connectionsMax and the size of a token's index bound each other.
	connectionsMax = 1024
)

// authorizationRoom is by how much a new Authorization may be longer than the first.
const authorizationRoom = 512

// headSize is what one request's head takes: the fixed part, up to ten digits, a trace's line and two line
// ends, and room for another Authorization, in whole cache lines.
func headSize(c *Config) int {
	return (len(fixedHead(c)) + 10 + traceHeader + 4 + authorizationRoom + 63) &^ 63
}

// MemorySize is how much Memory a writer with this configuration needs. Only Host, Path, Authorization,
// UserAgent and Connections count.
func MemorySize(c Config) int {
	return c.Connections * (addressSize + receiveSize + attemptsPerConnection*(messageSize+headSize(&c)))
}

// validate checks the configuration as a whole.
func (c *Config) validate() error {
	if err := checkHead(c); err != nil {
		return err
	}
	switch {
	case c.Connections < 1 || c.Connections > connectionsMax:
		return fmt.Errorf("configure writer: %d connections, want 1 to %d", c.Connections, connectionsMax)
	case c.Ordered && c.Connections != 1:
		return fmt.Errorf("configure writer: %d connections, want 1 where batches keep their order",
			c.Connections)
	case c.Timeout <= 0:
		return fmt.Errorf("configure writer: timeout %s, want more than 0", c.Timeout)
	case c.Retry.Attempts < 1 || c.Retry.First <= 0 || c.Retry.Max < c.Retry.First:
		return fmt.Errorf("configure writer: retry %+v, want at least one attempt and 0 < first ≤ max",
			c.Retry)
	case !(c.Retry.Jitter >= 0 && c.Retry.Jitter <= 1):
		return fmt.Errorf("configure writer: jitter %g, want 0 to 1", c.Retry.Jitter)
	case c.Pool == nil:
		return fmt.Errorf("configure writer: no pool")
	case len(c.Memory) < MemorySize(*c):
		return fmt.Errorf("configure writer: %d bytes of memory, want %d", len(c.Memory), MemorySize(*c))
	}
	return nil
}
