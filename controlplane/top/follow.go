package top

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"culvert/controlplane/telemetry"
)

const (
	// silence is how long the stream may say nothing: it speaks at least once a second.
	silence = 5 * time.Second
	// retryTime is how long a lost connection waits before the next attempt.
	retryTime = time.Second
	// lineMax bounds an event; a gateway with many queues and rules says some hundred KiB.
	lineMax = 16 << 20
)

// Follow reads the gateway's stream and sends each state, and each failure, until the context ends. A lost
// connection is made anew.
func Follow(ctx context.Context, url string, send func(message any)) {
	for ctx.Err() == nil {
		err := follow(ctx, url, send)
		if ctx.Err() != nil {
			return
		}
		send(LostMsg{err})
		select {
		case <-ctx.Done():
		case <-time.After(retryTime):
		}
	}
}

// follow reads one connection to its end; its error is never nil.
func follow(ctx context.Context, url string, send func(message any)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing came for %s", silence)) })
	defer quiet.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		strings.TrimSuffix(url, "/")+"/api/v1/stream", nil)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the gateway: it answers %s", response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, lineMax)
	name := ""
	for lines.Scan() {
		line := lines.Text()
		if after, is := strings.CutPrefix(line, "event: "); is {
			name = after
		}
		data, is := strings.CutPrefix(line, "data: ")
		if !is || name != telemetry.PictureEvent {
			continue
		}
		var p telemetry.Picture
		if err := json.Unmarshal([]byte(data), &p); err != nil {
			return fmt.Errorf("read the gateway's state: %w", err)
		}
		if p.Status == nil || p.Health == nil {
			return errors.New("read the gateway's state: it is not whole")
		}
		quiet.Reset(silence)
		send(PictureMsg{&p})
	}
	err = lines.Err()
	if err == nil {
		err = io.EOF
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("read the gateway's stream: %w", err)
}
