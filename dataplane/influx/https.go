package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// RemoteConfig is what requests need that do not leave by the worker's ring or sockets.
type RemoteConfig struct {
	// URL is where batches are posted to, path and query included.
	URL string
	// TLS (optional) holds certificates to trust and to show.
	TLS *tls.Config
	// Gzip compresses the bodies.
	Gzip bool
	// Proxy (optional) is as http.Transport's.
	Proxy func(*http.Request) (*url.URL, error)
	// Wake (optional) is called, from any goroutine, when an answer waits for Poll.
	Wake func()
}

// newRemote starts a goroutine for each connection.
func newRemote(c *Config) *remote {
	r := &remote{done: make(chan remoteAnswer, c.Connections)}
	transport := &http.Transport{
		TLSClientConfig: c.Remote.TLS, MaxIdleConnsPerHost: c.Connections, DisableCompression: true,
		Proxy: c.Remote.Proxy,
		// One request at a time on each connection, as everywhere in this package.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		// As long as an answer's head may be elsewhere.
		MaxResponseHeaderBytes: headMax,
	}
	agent := c.UserAgent
	if agent == "" {
		agent = agentDefault
	}
	for slot := range c.Connections {
		requests := make(chan remoteRequest, 1)
		r.slots = append(r.slots, requests)
		carrier := &carrier{config: *c.Remote, transport: transport, agent: agent, timeout: c.Timeout}
		go func() {
			for request := range requests {
				answer := carrier.carry(&request)
				answer.slot = slot
				r.done <- answer
				if carrier.config.Wake != nil {
					carrier.config.Wake()
				}
			}
		}()
	}
	return r
}

// carrier makes the requests of one slot.
type carrier struct {
	config    RemoteConfig
	transport *http.Transport
	agent     string
	timeout   time.Duration
	memory    []byte // of a body that is through; the transport may read on in one that is not
	zipper    *gzip.Writer
	response  response // the last answer; the writer is through with it before it sends another request
}

// carry makes one request.
func (c *carrier) carry(request *remoteRequest) remoteAnswer {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	go func() {
		select {
		case <-request.canceled:
			cancel()
		case <-ctx.Done():
		}
	}()
	body, err := c.body(request.body)
	if err != nil {
		return remoteAnswer{err: fmt.Errorf("compress a batch: %w", err)}
	}
	var begun, whole atomic.Bool
	trace := httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { begun.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) { whole.Store(info.Err == nil) },
	}
	traced := httptrace.WithClientTrace(ctx, &trace)
	post, err := http.NewRequestWithContext(traced, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return remoteAnswer{err: fmt.Errorf("make a request: %w", err)}
	}
	post.Header.Set("User-Agent", c.agent)
	post.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if c.config.Gzip {
		post.Header.Set("Content-Encoding", "gzip")
	}
	if request.authorization != "" {
		post.Header.Set("Authorization", request.authorization)
	}
	answer := c.exchange(post)
	answer.unsent = answer.err != nil && !begun.Load()
	if answer.whole = whole.Load(); answer.err != nil || !answer.whole {
		c.memory = nil
	}
	return answer
}

// exchange sends a request and reads the answer.
func (c *carrier) exchange(post *http.Request) (answer remoteAnswer) {
	got, err := c.transport.RoundTrip(post)
	if err != nil {
		return remoteAnswer{err: err}
	}
	defer got.Body.Close()
	answer.response = &c.response
	if err := c.response.readFrom(got); err != nil {
		return remoteAnswer{err: fmt.Errorf("read the answer: %w", err)}
	}
	return answer
}

// readFrom makes an answer what it would be had it been read from a socket. The body is read to its end, in
// pieces: how many lines it names counts, however many there are.
func (r *response) readFrom(got *http.Response) error {
	if got.StatusCode < 100 || got.StatusCode > statusMax {
		return errMalformed // net/http takes any three digits
	}
	version := got.Header.Get("X-Influxdb-Version")
	_, reason, _ := strings.Cut(got.Status, " ")
	*r = response{
		status: got.StatusCode, headBytes: 1, phase: phaseToEOF, details: r.details[:0],
		retryAfter: got.Header.Get("Retry-After"), date: got.Header.Get("Date"),
		versionOne: strings.HasPrefix(version, "1."),
		reason:     reason, location: got.Header.Get("Location"),
		encoding: got.Header.Get("Content-Encoding"),
		page:     isWebPage([]byte(got.Header.Get("Content-Type"))),
	}
	var piece [receiveSize]byte
	for {
		n, err := got.Body.Read(piece[:])
		if _, malformed := r.text(piece[:n]); malformed != nil {
			return malformed
		}
		if errors.Is(err, io.EOF) {
			r.phase = phaseDone
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// body is a copy of a batch's bytes, compressed where that is wanted: the transport may hold it for longer
// than the batch lives.
func (c *carrier) body(batch []byte) ([]byte, error) {
	if !c.config.Gzip {
		c.memory = append(c.memory[:0], batch...)
		return c.memory, nil
	}
	packed := bytes.NewBuffer(c.memory[:0])
	if c.zipper == nil {
		c.zipper, _ = gzip.NewWriterLevel(packed, gzip.BestSpeed)
	}
	c.zipper.Reset(packed)
	if _, err := c.zipper.Write(batch); err != nil {
		return nil, err
	}
	if err := c.zipper.Close(); err != nil {
		return nil, err
	}
	c.memory = packed.Bytes()
	return c.memory, nil
}
