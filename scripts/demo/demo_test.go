package main

import (
	"errors"
	"strings"
	"testing"

	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
)

func TestFigures(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(grouped(0), "0")
	f(grouped(999), "999")
	f(grouped(1000), "1,000")
	f(grouped(1234567), "1,234,567")
	f(duration(0), "–")
	f(duration(42.4e-6), "42.4 µs")
	f(duration(1.5e-3), "1.5 ms")
	f(duration(20), "20 s")
}

func balanced() *Outcome {
	status := &telemetry.Status{Rules: []telemetry.RuleStatus{{Firing: 1, Transitions: 5}}}
	status.Ledger = telemetry.Ledger{Received: 100, Written: 100}
	status.Packets = telemetry.Packets{Received: 10, Decoded: 10}
	sent := &loadgen.Report{Packets: 10, Points: 100, Seconds: 1, Rate: 100, Held: true}
	return &Outcome{Sent: sent, Status: status, Found: 100, Database: "x"}
}

func TestReportBalanced(t *testing.T) {
	var out strings.Builder
	if err := report(&out, balanced()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"balance exact", "100 points/s", "3 raised, 1 firing"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, out.String())
		}
	}
}

// Each difference alone makes the demo fail and is named.
func TestReportUnbalanced(t *testing.T) {
	f := func(says string, change func(*Outcome)) {
		t.Helper()
		o := balanced()
		change(o)
		err := report(new(strings.Builder), o)
		if !errors.Is(err, errUnbalanced) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want a difference with %q", err, says)
		}
	}
	f("residue is -3", func(o *Outcome) { o.Status.Ledger.Residue = -3 })
	f("2 redirected", func(o *Outcome) { o.Status.Packets.ResidueRedirect = 2 })
	f("database has 99", func(o *Outcome) { o.Found = 99 })
	f("90 received", func(o *Outcome) { o.Status.Ledger.Received = 90 })
	f("4 points are still in flight", func(o *Outcome) { o.Status.Ledger.InFlight = 4 })
	f("7 points rejected: decode/bad_number", func(o *Outcome) {
		o.Status.Ledger.Rejected = map[string]uint64{"decode/bad_number": 7}
	})
	f("5 packets dropped: the kernel's socket", func(o *Outcome) { o.Status.Packets.KernelDrops = 5 })
}

// A block on a terminal is drawn over the one before.
func TestViewDrawsInPlace(t *testing.T) {
	var out strings.Builder
	v := &view{out: &out, terminal: true}
	v.draw([]string{"a", "b"})
	v.draw([]string{"c", "d"})
	if want := "a\x1b[K\nb\x1b[K\n\x1b[2Ac\x1b[K\nd\x1b[K\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
