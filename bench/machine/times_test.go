package machine

import (
	"os"
	"testing"
	"time"
)

const stat = `cpu  30 2 30 30 30 30 30 30 0 0
cpu0 100 1 50 1000 5 2 7 3 0 0
cpu1 200 0 60 900 0 0 40 1 0 0
intr 5
`

func TestParseStat(t *testing.T) {
	f := func(want Times, cpus ...int) {
		t.Helper()
		got, err := parseStat(stat, cpus)
		if err != nil || got != want {
			t.Errorf("CPUs %v: got %+v, %v, want %+v", cpus, got, err, want)
		}
	}
	const tick = 10 * time.Millisecond
	f(Times{User: 200 * tick, System: 60 * tick, SoftIRQ: 40 * tick, Idle: 900 * tick, Steal: tick}, 1)
	f(Times{User: 301 * tick, System: 110 * tick, IRQ: 2 * tick, SoftIRQ: 47 * tick, Idle: 1905 * tick,
		Steal: 4 * tick}, 0, 1)
	if _, err := parseStat(stat, []int{2}); err == nil {
		t.Error("a CPU that is not there has times")
	}
}

func TestTimesBusy(t *testing.T) {
	later, err := parseStat(stat, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	if got := later.Sub(Times{User: time.Second}).Busy(); got != 2*time.Second {
		t.Errorf("busy for %v, want 2s", got)
	}
}

// Goal: this process's own figures can be read and are not nothing. Method: use some time, then look.
func TestOwnFigures(t *testing.T) {
	for begun := time.Now(); time.Since(begun) < 30*time.Millisecond; {
	}
	if ran, err := ProgramTime(os.Getpid()); err != nil || ran <= 0 {
		t.Errorf("ran for %v, %v", ran, err)
	}
	if rss, err := Resident(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("%d bytes in RAM, %v", rss, err)
	}
	if facts := Look(); facts.CPU == "" || facts.Kernel == "" || facts.Cores < 1 {
		t.Errorf("facts are missing: %+v", facts)
	}
}
