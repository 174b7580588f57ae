package receive

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// alertBuffer takes alerts that come while the program does not read, in bytes.
	alertBuffer = 8 << 20
	// alertSize is more than any alert of the benchmark has, in bytes.
	alertSize = 4096
	// alertsMax bounds the values that are kept.
	alertsMax = 1 << 20
	// timespecSize is struct timespec of a 64-bit kernel: seconds and nanoseconds.
	timespecSize = 16
)

// AlertTimes is what a receiver of alerts measured: for each datagram how long after its point's arrival at
// the gateway it came, in nanoseconds, in ascending order.
type AlertTimes struct {
	Stamped []int64 `json:"stamped"` // by the stamp that the receiver's kernel gave it
	Read    []int64 `json:"read"`    // until the receiving program had it
	Strange int     `json:"strange"` // datagrams that are no alerts of a point
}

// Alerts receives alerts in the format json on a UDP address until the context ends. The points that cause
// them have no timestamps, so that the time of an alert is that of its point's arrival, stamped by the XDP
// program; this process runs on the same host, by the same clock.
func Alerts(ctx context.Context, address string) (*AlertTimes, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, fmt.Errorf("receive alerts: %w", err)
	}
	defer conn.Close()
	udp := conn.(*net.UDPConn)
	if err := stampArrivals(udp); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { udp.SetReadDeadline(time.Unix(1, 0)) })()
	times := new(AlertTimes)
	text, control := make([]byte, alertSize), make([]byte, unix.CmsgSpace(timespecSize))
	for len(times.Read) < alertsMax {
		n, controls, _, _, err := udp.ReadMsgUDPAddrPort(text, control)
		read := time.Now().UnixNano()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			slices.Sort(times.Stamped)
			slices.Sort(times.Read)
			return times, nil
		case err != nil:
			return nil, fmt.Errorf("receive alerts: %w", err)
		}
		var alert struct {
			Time time.Time
		}
		stamp := arrivalStamp(control[:controls])
		if err := json.Unmarshal(text[:n], &alert); err != nil || alert.Time.IsZero() || stamp == 0 {
			times.Strange++
			continue
		}
		times.Stamped = append(times.Stamped, stamp-alert.Time.UnixNano())
		times.Read = append(times.Read, read-alert.Time.UnixNano())
	}
	return nil, fmt.Errorf("receive alerts: more than %d", alertsMax)
}

// stampArrivals makes the kernel say of each datagram when it came in, and keep many.
func stampArrivals(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(
			os.NewSyscallError("setsockopt SO_TIMESTAMPNS",
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)),
			os.NewSyscallError("setsockopt SO_RCVBUFFORCE",
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, alertBuffer)))
	})
	return errors.Join(err, failed)
}

// arrivalStamp is the kernel's stamp of a datagram, nanoseconds since 1970; 0 without one.
func arrivalStamp(control []byte) int64 {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
			seconds := int64(binary.NativeEndian.Uint64(m.Data))
			return seconds*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:]))
		}
	}
	return 0
}
