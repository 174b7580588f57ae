package notify

import (
	"bytes"
	"context"
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
)

const (
	// answerMax bounds what is read of an answer, so that the connection can be used again.
	answerMax = 64 << 10
	// answerShown is how much of a refusal's words goes to the log.
	answerShown = 200
	// dialTimeout bounds how long a receiver is waited for that does not take the connection, however long
	// its answers may take.
	dialTimeout = 5 * time.Second
	// retryAfterMax bounds how long a receiver may send us away.
	retryAfterMax = time.Minute
)

// poster makes POST requests to one URL.
type poster struct {
	url           string
	authorization string
	contentType   string
	client        *http.Client
}

func newPoster(c Config, to, contentType string, log *slog.Logger) (poster, error) {
	u, err := url.Parse(to)
	if err != nil {
		return poster{}, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return poster{}, fmt.Errorf("%q is no URL to post to", to)
	}
	proxy, err := proxyOf(c, u, log)
	if err != nil {
		return poster{}, err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, Proxy: http.ProxyURL(proxy),
			MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		},
		// A redirect would turn the POST into a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return poster{url: to, authorization: c.Authorization, contentType: contentType, client: client}, nil
}

// proxyOf is the proxy by which a receiver is reached, or nil. It does not change while the process lives: so
// it is asked for once, and said once.
func proxyOf(c Config, to *url.URL, log *slog.Logger) (*url.URL, error) {
	find := c.Proxy
	if find == nil {
		find = http.ProxyFromEnvironment
	}
	proxy, err := find(&http.Request{URL: to})
	if err != nil {
		// The error quotes what may hold a password.
		return nil, fmt.Errorf("the proxy that the environment names for %s is no URL: "+
			"see HTTPS_PROXY, HTTP_PROXY and NO_PROXY", to.Host)
	}
	if proxy != nil {
		log.Info("the receiver is reached through the environment's proxy", "host", to.Host,
			"proxy", proxy.Redacted())
	}
	return proxy, nil
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// post makes one request and judges the answer. It calls wired with the time at which the request was
// written, if it came that far.
func (p *poster) post(ctx context.Context, body []byte, wired func(at int64)) error {
	// The transport calls this on a goroutine of its own.
	var wrote atomic.Int64
	trace := &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			wrote.CompareAndSwap(0, monotonic())
		}
	}}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, p.url,
		bytes.NewReader(body))
	if err != nil {
		return permanent{err}
	}
	request.Header.Set("Content-Type", p.contentType)
	request.Header.Set("User-Agent", "culvert")
	if p.authorization != "" {
		request.Header.Set("Authorization", p.authorization)
	}
	err = p.exchange(request)
	if at := wrote.Load(); at != 0 {
		wired(at)
		if errors.Is(err, context.DeadlineExceeded) {
			err = slow{err}
		}
	}
	return err
}

func (p *poster) exchange(request *http.Request) error {
	response, err := p.client.Do(request)
	if err != nil {
		// The path may hold the receiver's token, so the log sees the host alone.
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err
		}
		return fmt.Errorf("post to %s: %w", request.URL.Host, err)
	}
	defer response.Body.Close()
	// An error while the answer is read changes nothing: its code is there.
	answer, _ := io.ReadAll(io.LimitReader(response.Body, answerMax))
	return judge(request.URL.Host, response, answer)
}

// judge says what an answer means. A code that speaks of the message is a refusal of it; every other failure
// is the receiver's, or of the way to it, and can be mended there.
func judge(host string, response *http.Response, answer []byte) error {
	code := response.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	err := fmt.Errorf("%s answers %s", host, response.Status)
	if to, without := response.Location(); without == nil && code >= 300 && code < 400 {
		// The path may be a secret, as in exchange.
		err = fmt.Errorf("%w and sends elsewhere, to %s://%s/…, where alerts do not follow", err, to.Scheme,
			to.Host)
	} else if words := bytes.TrimSpace(answer); len(words) > 0 {
		err = fmt.Errorf("%w: %s", err, words[:min(len(words), answerShown)])
	}
	switch code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity:
		return permanent{err}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return later{err, retryAfter(response.Header.Get("Retry-After"), time.Now())}
	}
	return err
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

// generatorURL is where the gateway shows the rule of an alert; empty if its own URL is not known.
func generatorURL(external string, a *Alert) string {
	if external == "" {
		return ""
	}
	return external + "/?rule=" + url.QueryEscape(a.Rule)
}
