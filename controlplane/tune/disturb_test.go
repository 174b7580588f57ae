package tune

import (
	"errors"
	"testing"
)

// disturbing is a host whose channels deal interrupts out anew, to all CPUs, each time they are set.
type disturbing struct {
	h        *host
	channels string
	fail     bool // the process dies after the next setting of channels
}

var errDied = errors.New("died")

func (d *disturbing) Read(s Setting) (string, error) {
	if s.Kind == Channels {
		return d.channels, nil
	}
	return Machine{Root: d.h.root}.Read(s)
}

func (d *disturbing) Write(s Setting, value string) error {
	if s.Kind != Channels {
		return Machine{Root: d.h.root}.Write(s, value)
	}
	d.channels = value
	d.h.put("irq1", "0-7")
	d.h.put("irq2", "0-7")
	if d.fail {
		panic(errDied)
	}
	return nil
}

func (d *disturbing) session() *Session {
	s := d.h.session("eth1", [2]string{"irq1", "3"})
	s.Knobs = d
	files := s.Look
	s.Look = func() ([]Change, error) {
		changes, err := files()
		if d.channels != "combined 1" {
			changes = append(changes, Change{Setting: Setting{Kind: Channels, Interface: "eth1"},
				Now: d.channels, Becomes: "combined 1", Why: "test"})
		}
		return changes, err
	}
	s.Disturbed = func() ([]Setting, error) {
		return []Setting{{Kind: File, Name: "sys/irq1"}, {Kind: File, Name: "sys/irq2"}}, nil
	}
	return s
}

func newDisturbing(t *testing.T) *disturbing {
	return &disturbing{h: newHost(t, map[string]string{"irq1": "5", "irq2": "6"}), channels: "combined 4"}
}

// dies runs a step that ends in the middle.
func (d *disturbing) dies(step func()) {
	d.h.t.Helper()
	d.fail = true
	defer func() {
		d.h.t.Helper()
		d.fail = false
		if recover() != errDied {
			d.h.t.Fatal("the step came to its end")
		}
	}()
	step()
}

func (d *disturbing) want(when, channels, interrupts string) {
	d.h.t.Helper()
	if got := d.h.values("irq1", "irq2"); d.channels != channels || got != interrupts {
		d.h.t.Fatalf("%s: channels %s, interrupts %s; want %s, %s", when, d.channels, got, channels,
			interrupts)
	}
}

// Goal: revert restores what a reset of the link dealt out anew, also where apply had no wish for it.
func TestRevertRestoresWhatResetsDisturb(t *testing.T) {
	d := newDisturbing(t)
	d.h.apply(d.session(), 2)
	d.want("after apply", "combined 1", "3 0-7")
	d.h.apply(d.session(), 0)
	d.h.revert(d.session(), "")
	d.want("after revert", "combined 4", "5 6")
	if d.h.journal() != "" {
		t.Errorf("the journal is not gone: %s", d.h.journal())
	}
}

// Goal: the same, where apply and then revert die in the middle.
func TestRevertRestoresWhatResetsDisturbAfterCrashes(t *testing.T) {
	d := newDisturbing(t)
	d.dies(func() { d.session().Apply() })
	d.want("after the first crash", "combined 1", "0-7 0-7")
	d.dies(func() { d.session().Revert() })
	d.want("after the second crash", "combined 4", "0-7 0-7")
	d.h.revert(d.session(), "")
	d.want("after revert", "combined 4", "5 6")
}

// Goal: an interrupt that somebody else has sent elsewhere since is kept and named.
func TestRevertKeepsOthersInterrupts(t *testing.T) {
	d := newDisturbing(t)
	d.h.apply(d.session(), 2)
	d.h.put("irq2", "1")
	outcomes, err := d.session().Revert()
	if err != nil || len(outcomes) != 3 {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	for _, o := range outcomes {
		if want := o.Setting.Name == "sys/irq2"; errors.Is(o.Problem, ErrChangedSince) != want {
			t.Errorf("%s: %v", o.Setting, o.Problem)
		}
	}
	d.want("after revert", "combined 4", "5 1")
}
