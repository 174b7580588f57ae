package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
)

// view shows the gateway's state each second: on a terminal as a block that is drawn again in its place, else
// as one line.
type view struct {
	out      io.Writer
	terminal bool
	drawn    int // lines of the block on the terminal
	before   *telemetry.Status
}

func newView(out *os.File) *view {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &view{out: out, terminal: err == nil}
}

// Show draws one state; rates are against the state shown before.
func (v *view) Show(s *telemetry.Status) {
	before := v.before
	v.before = s
	if before == nil {
		return
	}
	seconds := s.Taken.Sub(before.Taken).Seconds()
	if seconds <= 0 {
		return
	}
	rate := func(now, then uint64) string { return grouped(uint64(float64(now-then)/seconds + 0.5)) }
	packets := rate(s.Packets.Received, before.Packets.Received)
	points := rate(s.Ledger.Received, before.Ledger.Received)
	written := rate(s.Ledger.Written, before.Ledger.Written)
	firing, raised := alerts(s)
	alert, end := s.Latency["alert"], s.Latency["end_to_end"]
	if !v.terminal {
		fmt.Fprintf(v.out, "%4.0fs  %s packets/s  %s points/s  %s written/s  rejected %s  in flight %s",
			s.UptimeSeconds, packets, points, written, grouped(sum(s.Ledger.Rejected)),
			grouped(s.Ledger.InFlight))
		fmt.Fprintf(v.out, "  firing %d  raised %s  → alert %s/%s  → acknowledged %s/%s (P50/P99)\n", firing,
			grouped(raised), duration(alert.P50), duration(alert.P99), duration(end.P50), duration(end.P99))
		return
	}
	v.draw([]string{
		fmt.Sprintf("  received      %12s packets/s   %12s points/s", packets, points),
		fmt.Sprintf("  written       %12s points/s    %12s in all", written, grouped(s.Ledger.Written)),
		fmt.Sprintf("  rejected      %12s             %12s dropped   %s in flight",
			grouped(sum(s.Ledger.Rejected)), grouped(sum(s.Ledger.Dropped)), grouped(s.Ledger.InFlight)),
		fmt.Sprintf("  alerts        %12d firing      %12s raised", firing, grouped(raised)),
		fmt.Sprintf("  → alert       %12s P50         %12s P99", duration(alert.P50), duration(alert.P99)),
		fmt.Sprintf("  → acknowledged%12s P50         %12s P99", duration(end.P50), duration(end.P99)),
	})
}

// Note shows a remark below the block.
func (v *view) Note(text string) {
	if v.terminal {
		v.drawn = 0
	}
	fmt.Fprintln(v.out, text)
}

// Close leaves the last block where it stands.
func (v *view) Close() { v.drawn = 0 }

func (v *view) draw(lines []string) {
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, line := range lines {
		// Each line is cleared to its end, since the one before may have been longer.
		b.WriteString(line + "\x1b[K\n")
	}
	v.drawn = len(lines)
	_, _ = io.WriteString(v.out, b.String())
}

// alerts gives the number of alerts that are firing, and of those that were ever raised. Each key's state
// changes alternate, beginning with a raise.
func alerts(s *telemetry.Status) (firing int, raised uint64) {
	for _, rule := range s.Rules {
		firing += rule.Firing
		raised += (rule.Transitions + uint64(rule.Firing)) / 2
	}
	return firing, raised
}

func sum(counts map[string]uint64) uint64 {
	var n uint64
	for _, count := range counts {
		n += count
	}
	return n
}

// grouped writes a number with a comma between each three digits.
func grouped(n uint64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// duration writes seconds with three significant digits and a fitting unit.
func duration(seconds float64) string {
	d := time.Duration(seconds * 1e9)
	switch {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", seconds*1e6)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}
