package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// logger writes a line for each change.
type logger struct{ log *slog.Logger }

func (l *logger) batchMax() int { return 1 }
func (l *logger) close()        {}

func (l *logger) deliver(ctx context.Context, batch []queued, wired func(at int64)) error {
	a := &batch[0]
	level := slog.LevelInfo
	if a.Firing {
		level = slog.LevelWarn
	}
	l.log.LogAttrs(ctx, level, "alert "+a.state(), slog.String("rule", a.Rule), group("labels", a.Labels),
		group("annotations", a.Annotations), slog.Time("time", a.Time),
		slog.Time("since", a.Since), slog.String("reason", a.Reason),
		slog.String("fingerprint", a.Fingerprint))
	wired(monotonic())
	return nil
}

// group is a map as attributes, in the order of their names.
func group(name string, values map[string]string) slog.Attr {
	var attributes []slog.Attr
	for _, key := range sortedKeys(values) {
		attributes = append(attributes, slog.String(key, values[key]))
	}
	return slog.Attr{Key: name, Value: slog.GroupValue(attributes...)}
}

// sender writes datagrams.
type sender struct {
	address string
	dialer  net.Dialer
	conn    net.Conn // nil until the first alert, and after a failure
}

func newSender(c Config) (*sender, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, err
	}
	return &sender{address: c.Address}, nil
}

func (s *sender) batchMax() int { return 1 }

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func (s *sender) deliver(ctx context.Context, batch []queued, wired func(at int64)) error {
	text, err := batch[0].datagram()
	if err != nil {
		return err
	}
	if s.conn == nil {
		// The name is resolved anew after each failure.
		if s.conn, err = s.dialer.DialContext(ctx, "udp", s.address); err != nil {
			s.conn = nil
			return err
		}
	}
	_, err = s.conn.Write(text)
	if errors.Is(err, unix.ECONNREFUSED) {
		// This is the answer to an earlier datagram; this one has not left.
		_, err = s.conn.Write(text)
	}
	if err != nil {
		s.close()
		return err
	}
	wired(monotonic())
	return nil
}

const (
	// webhookBatchMax bounds the alerts of one POST: some 100 KiB of JSON.
	webhookBatchMax = 64
	// answerMax bounds what is read of an answer, so that the connection can be used again.
	answerMax = 64 << 10
	// retryAfterMax bounds how long a receiver may send us away.
	retryAfterMax = time.Minute
)

// webhook posts JSON.
type webhook struct {
	url    string
	name   string // the receiver's name in the messages
	client *http.Client
}

func newWebhook(c Config) (*webhook, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not where a webhook can be posted to", c.URL)
	}
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		// A redirect would turn the POST into a GET: it is refused like any other answer than success.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &webhook{url: c.URL, name: c.Name, client: client}, nil
}

func (w *webhook) batchMax() int { return webhookBatchMax }
func (w *webhook) close()        { w.client.CloseIdleConnections() }

func (w *webhook) deliver(ctx context.Context, batch []queued, wired func(at int64)) error {
	body, err := json.Marshal(newMessage(w.name, batch))
	if err != nil {
		return permanent{fmt.Errorf("encode alerts: %w", err)}
	}
	// The transport calls this on a goroutine of its own.
	var wrote atomic.Int64
	trace := &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			wrote.CompareAndSwap(0, monotonic())
		}
	}}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, w.url,
		bytes.NewReader(body))
	if err != nil {
		return permanent{err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "culvert")
	err = w.post(request)
	if at := wrote.Load(); at != 0 {
		wired(at)
	}
	return err
}

// post makes the request and judges the answer.
func (w *webhook) post(request *http.Request) error {
	response, err := w.client.Do(request)
	if err != nil {
		// The path may hold the receiver's token, so the log sees the host alone.
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err
		}
		return fmt.Errorf("post to %s: %w", request.URL.Host, err)
	}
	defer response.Body.Close()
	// The answer's text is of no use; an error while it is read changes nothing.
	io.Copy(io.Discard, io.LimitReader(response.Body, answerMax))
	code := response.StatusCode
	refused := fmt.Errorf("%s answers %s", request.URL.Host, response.Status)
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return later{refused, retryAfter(response.Header.Get("Retry-After"), time.Now())}
	case code >= 500 || code == http.StatusRequestTimeout:
		return refused
	}
	return permanent{refused}
}

// retryAfter reads the header, seconds or a date; 0 without it.
func retryAfter(text string, now time.Time) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		after = max(date.Sub(now), 0)
	}
	return min(after, retryAfterMax)
}
