package confine

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Capability is one that a gateway uses.
type Capability struct {
	Name     string
	Bit      uint
	Without  string // what fails without it
	Instead  uint   // a wider capability that includes it; 0: none
	Optional bool   // nobody misses it
}

// Capabilities are those that a gateway keeps if it has them. CAP_SYS_ADMIN includes two for compatibility
// (linux/capability.h).
func Capabilities() []Capability {
	return []Capability{
		{Name: "CAP_BPF", Bit: unix.CAP_BPF, Instead: unix.CAP_SYS_ADMIN,
			Without: "maps cannot be made and programs cannot be loaded"},
		{Name: "CAP_NET_ADMIN", Bit: unix.CAP_NET_ADMIN,
			Without: "the program cannot be attached to an interface"},
		{Name: "CAP_NET_RAW", Bit: unix.CAP_NET_RAW,
			Without: "AF_XDP sockets cannot be opened, nor opened again after the link was down"},
		{Name: "CAP_PERFMON", Bit: unix.CAP_PERFMON, Instead: unix.CAP_SYS_ADMIN,
			Without: "the steering program does not load, and the probes do not"},
		{Name: "CAP_IPC_LOCK", Bit: unix.CAP_IPC_LOCK,
			Without: "the workers' memory counts against RLIMIT_MEMLOCK (see memlock)"},
		{Name: "CAP_SYS_NICE", Bit: unix.CAP_SYS_NICE, Optional: true,
			Without: "and it is not needed: workers run under the usual policy"},
	}
}

// set is a set of capabilities, one bit each.
type set uint64

func (s set) has(bit uint) bool { return s&(1<<bit) != 0 }

// holds tells whether a set has a capability or the wider one that includes it.
func (s set) holds(c *Capability) bool {
	return s.has(c.Bit) || c.Instead != 0 && s.has(c.Instead)
}

// Missing are those of the named capabilities (unix.CAP_…) that the calling thread lacks.
func Missing(bits ...uint) ([]Capability, error) {
	effective, _, err := held()
	if err != nil {
		return nil, err
	}
	var missing []Capability
	all := Capabilities()
	for i := range all {
		for _, bit := range bits {
			if all[i].Bit == bit && !effective.holds(&all[i]) {
				missing = append(missing, all[i])
			}
		}
	}
	return missing, nil
}

// held are the calling thread's effective and permitted capabilities.
func held() (effective, permitted set, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var words [2]unix.CapUserData
	if err := unix.Capget(&header, &words[0]); err != nil {
		return 0, 0, fmt.Errorf("read this process's capabilities: %w", err)
	}
	effective = set(words[1].Effective)<<32 | set(words[0].Effective)
	permitted = set(words[1].Permitted)<<32 | set(words[0].Permitted)
	return effective, permitted, nil
}

// Confinement is what the process may still do.
type Confinement struct {
	User         string   // that it runs as
	Capabilities []string // that it holds
	// Dropped tells whether all others are gone for good: from all sets, with no way to new ones.
	Dropped bool
	// Syscalls and Files say in words what the filter of system calls and Landlock do, or why not.
	Syscalls, Files string
}

// errThreads is for a binary that was linked with C code, whose threads Go cannot change.
var errThreads = errors.New("a binary with C code in it cannot (build it with CGO_ENABLED=0)")

// Drop gives up every capability but those of Capabilities that the process is permitted now, in all sets of
// all threads, and with PR_SET_NO_NEW_PRIVS the way to new ones: what it is not permitted it will never be.
// Those that it keeps become effective. On an error the process holds what it held, or less.
func Drop() (Confinement, error) {
	c := Confinement{User: userName(), Syscalls: "not limited", Files: "not limited"}
	effective, permitted, err := held()
	if err != nil {
		return c, err
	}
	keep := set(0)
	for _, one := range Capabilities() {
		switch {
		case permitted.has(one.Bit):
			keep |= 1 << one.Bit
			c.Capabilities = append(c.Capabilities, one.Name)
		case one.Instead != 0 && permitted.has(one.Instead):
			// An old service manager that knows neither may have granted the wide one on purpose.
			keep |= 1 << one.Instead
		}
	}
	if keep.has(unix.CAP_SYS_ADMIN) {
		c.Capabilities = append(c.Capabilities, "CAP_SYS_ADMIN")
	}
	if err := dropBounding(effective, keep); err != nil {
		return c, err
	}
	if err := forAllThreads("clear the ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
		unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return c, err
	}
	if err := setCapabilities(keep); err != nil {
		return c, err
	}
	if err := forAllThreads("allow no new privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1,
		0); err != nil {
		return c, err
	}
	c.Dropped = true
	return c, nil
}

// dropBounding takes from the bounding set what is not kept. That takes CAP_SETPCAP; without it the set stays
// as it was, which is harmless: it bounds what a new program could get, and no program gets anything new.
func dropBounding(effective, keep set) error {
	if !effective.has(unix.CAP_SETPCAP) {
		return nil
	}
	for bit := uint(0); bit <= unix.CAP_LAST_CAP; bit++ {
		if keep.has(bit) {
			continue
		}
		err := forAllThreads("bound the capabilities", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(bit), 0)
		// A kernel older than this program does not know the last ones.
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return nil
}

// forAllThreads makes a system call on every thread of the process.
func forAllThreads(what string, number, a, b, c uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(number, a, b, c, 0, 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP:
		return fmt.Errorf("%s: %w", what, errThreads)
	}
	return fmt.Errorf("%s: %w", what, errno)
}

// userName is the user's name, or number where it has none.
func userName() string {
	number := fmt.Sprint(syscall.Geteuid())
	if found, err := user.LookupId(number); err == nil {
		return found.Username
	}
	return number
}

// Explain lists capabilities with what fails without each.
func Explain(missing []Capability) string {
	parts := make([]string, len(missing))
	for i, c := range missing {
		parts[i] = fmt.Sprintf("%s (%s)", c.Name, c.Without)
	}
	return strings.Join(parts, ", ")
}
