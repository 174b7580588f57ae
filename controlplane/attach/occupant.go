package attach

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf"

	"culvert/bpf"
)

// Seen is a program that was on an interface.
type Seen struct {
	id   uint32
	name string
	runs []string // where it is a dispatcher
}

// See looks whose program is on an interface, for Options.Seen: to read a program's name takes CAP_SYS_ADMIN,
// which a gateway gives up. There need not be one, nor the interface.
func See(name string) (Seen, error) {
	state, err := Look(name)
	if err != nil || state.program.id == 0 {
		return Seen{}, err
	}
	return see(state), nil
}

func see(state State) Seen {
	seen := Seen{id: state.program.id, name: programName(state.program.id)}
	if seen.name == bpf.DispatcherName {
		seen.runs = dispatched(state.Index, seen.id)
	}
	return seen
}

// programName is a program's name by its id, or "" where this process may not ask or the program is gone.
func programName(id uint32) string {
	other, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer other.Close()
	about, err := other.Info()
	if err != nil {
		return ""
	}
	return about.Name
}

// Occupant says whose program is on an interface, as an *Error of kind Foreign; nil where there is none, one
// of ours, or a dispatcher that ours has joined. Without CAP_SYS_ADMIN it cannot be told whose it is, and the
// error says so.
func Occupant(name string) error {
	state, err := Look(name)
	if err != nil {
		return err
	}
	if state.program.id == 0 {
		return nil
	}
	if slices.Contains(see(state).runs, bpf.JointName) {
		return nil
	}
	a := &Attachment{name: name, state: state}
	err = a.foreign()
	var obstacle *Error
	if errors.As(err, &obstacle) && obstacle.Kind == Busy {
		return nil
	}
	return err
}
