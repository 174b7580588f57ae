package attach

import (
	"fmt"
	"strings"
)

// Kind is what sort of obstacle an Error names.
type Kind uint8

// The kinds of obstacles.
const (
	Missing     Kind = iota + 1 // the interface is not there
	Privilege                   // the process lacks a capability
	Foreign                     // another program is on the interface
	Busy                        // another process of ours holds the interface or its pin
	Unsupported                 // the mode demanded cannot be had
	NoBPFFS                     // no BPF file system to pin in
)

// Error is an obstacle that the user can do something about, as one line: what was attempted on what, why it
// failed, what would mend it.
type Error struct {
	Kind      Kind
	Interface string
	Attempt   string // "attach", "detach", …
	Problem   string
	Remedy    string // (optional)
	Err       error  // (optional) what the kernel said
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: %s", e.Attempt, e.Interface, e.Problem)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Remedy != "" {
		fmt.Fprintf(&b, "; %s", e.Remedy)
	}
	return b.String()
}

// Unwrap is what the kernel said.
func (e *Error) Unwrap() error { return e.Err }
