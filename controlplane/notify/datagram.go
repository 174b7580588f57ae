package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"culvert/dataplane/wire"
)

// The formats of datagrams.
const (
	FormatJSON = "json"
	FormatLine = "line"
)

// sender writes datagrams to a UDP port or a unix socket.
type sender struct {
	network, address string
	format           wire.Format
	dialer           net.Dialer
	conn             net.Conn // nil until the first alert, and after a failure
}

func newSender(c Config) (*sender, error) {
	s := &sender{network: "udp", address: c.Address}
	switch c.Format {
	case "", FormatJSON:
	case FormatLine:
		s.format = wire.Line
	default:
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
	text := s.format.Append(nil, batch[0].wire(), wire.TextMax)
	if len(text) > wire.TextMax {
		return permanent{fmt.Errorf("encode alert %q: %d bytes do not fit into a datagram", batch[0].Rule,
			len(text))}
	}
	if s.conn == nil {
		var err error
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
	_, err := s.conn.Write(text)
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

// wire is the alert as datagrams and points have it.
func (a *Alert) wire() *wire.Alert {
	return &wire.Alert{
		Rule: a.Rule, Firing: a.Firing, Labels: a.Labels, Annotations: a.Annotations,
		Time: a.Time.UnixNano(), Since: a.Since.UnixNano(), Reason: a.Reason, Fingerprint: a.Fingerprint,
	}
}
