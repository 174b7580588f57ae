package attach

import "errors"

// Occupant says whose program is on an interface, as an *Error of kind Foreign; nil where there is none, or
// one of ours. Without CAP_SYS_ADMIN it cannot be told whose it is, and the error says so.
func Occupant(name string) error {
	state, err := Look(name)
	if err != nil {
		return err
	}
	if state.program.id == 0 {
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
