package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The formats of datagrams.
const (
	FormatJSON = "json"
	FormatLine = "line"
)

// sender writes datagrams to a UDP port or a unix socket.
type sender struct {
	network, address string
	line             bool
	dialer           net.Dialer
	conn             net.Conn // nil until the first alert, and after a failure
}

func newSender(c Config) (*sender, error) {
	s := &sender{network: "udp", address: c.Address, line: c.Format == FormatLine}
	if c.Format != "" && c.Format != FormatJSON && !s.line {
		return nil, fmt.Errorf("%q is none of json, line", c.Format)
	}
	if c.Type == "unix" {
		s.network = "unixgram"
		if !filepath.IsAbs(c.Address) && !strings.HasPrefix(c.Address, "@") {
			return nil, fmt.Errorf("%q is neither an absolute path nor a name that begins with @", c.Address)
		}
		return s, nil
	}
	_, _, err := net.SplitHostPort(c.Address)
	return s, err
}

func (s *sender) batchMax() int             { return 1 }
func (s *sender) together(_, _ *Alert) bool { return false }

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func (s *sender) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	encode := batch[0].jsonDatagram
	if s.line {
		encode = batch[0].lineDatagram
	}
	text, err := encode()
	if err != nil {
		return err
	}
	if s.conn == nil {
		// A name is resolved, and a path opened, anew after each failure.
		if s.conn, err = s.dialer.DialContext(ctx, s.network, s.address); err != nil {
			s.conn = nil
			return err
		}
	}
	// A unix socket whose reader does not read blocks; a UDP one may, when the device's queue is full.
	deadline, _ := ctx.Deadline()
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err = s.conn.Write(text)
	if s.network == "udp" && errors.Is(err, unix.ECONNREFUSED) {
		// This is the answer to an earlier datagram; this one has not left.
		_, err = s.conn.Write(text)
	}
	if errors.Is(err, unix.EMSGSIZE) {
		return permanent{err}
	}
	if err != nil {
		s.close()
		return err
	}
	wired(monotonic())
	return nil
}

// datagramMax is the largest payload of a UDP datagram over IPv4.
const datagramMax = 65507

// datagram is the JSON of types udp and unix, described in docs/notifications.md.
type datagram struct {
	Version     int               `json:"version"`
	Rule        string            `json:"rule"`
	State       string            `json:"state"`
	Time        time.Time         `json:"time"`
	Since       time.Time         `json:"since"`
	Reason      string            `json:"reason,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Truncated says that the annotations were left out, because they did not fit.
	Truncated bool `json:"truncated,omitempty"`
}

// jsonDatagram makes one line of JSON, without its annotations if it would not fit into a datagram.
func (a *Alert) jsonDatagram() ([]byte, error) {
	d := datagram{Version: 1, Rule: a.Rule, State: a.state(), Time: a.Time.UTC(), Since: a.Since.UTC(),
		Reason: a.Reason, Fingerprint: a.Fingerprint, Labels: a.Labels, Annotations: a.Annotations}
	text, err := json.Marshal(d)
	if err == nil && len(text) >= datagramMax {
		d.Annotations, d.Truncated = nil, true
		text, err = json.Marshal(d)
	}
	if err != nil {
		return nil, fmt.Errorf("encode alert %q: %w", a.Rule, err)
	}
	if len(text) >= datagramMax {
		return nil, permanent{fmt.Errorf("encode alert %q: %d bytes do not fit into a datagram",
			a.Rule, len(text))}
	}
	return append(text, '\n'), nil
}

// lineDatagram makes one line of Line Protocol, without its annotations if it would not fit.
func (a *Alert) lineDatagram() ([]byte, error) {
	text := a.appendLine(nil, true)
	if len(text) > datagramMax {
		text = a.appendLine(text[:0], false)
	}
	if len(text) > datagramMax {
		return nil, permanent{fmt.Errorf("encode alert %q: %d bytes do not fit into a datagram",
			a.Rule, len(text))}
	}
	return text, nil
}
