package confine

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setCapabilities makes a set the effective and the permitted one of all threads, and the inheritable empty.
func setCapabilities(keep set) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var words [2]unix.CapUserData
	for i := range words {
		word := uint32(keep >> (32 * i))
		words[i].Effective, words[i].Permitted = word, word
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)),
		uintptr(unsafe.Pointer(&words[0])), 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP:
		return fmt.Errorf("set capabilities: %w", errThreads)
	}
	return fmt.Errorf("set capabilities: %w", errno)
}

// installFilter puts a filter over the system calls of all threads (SECCOMP_FILTER_FLAG_TSYNC). What it
// refuses goes to the kernel's audit log.
func installFilter(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	other, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("install the filter of system calls: %w", errno)
	}
	if other != 0 {
		return fmt.Errorf("install the filter of system calls: thread %d has another one", other)
	}
	return nil
}

// landlockVersion is the version of Landlock that the kernel has on.
func landlockVersion() (int, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(version), nil
}

// newRuleset makes a set of rules, all of whose rights are denied until a rule allows them.
func newRuleset(attributes *unix.LandlockRulesetAttr) (int, error) {
	// The size of the first version's, which has rights on files alone.
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attributes)),
		unsafe.Sizeof(attributes.Handled_access_fs), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(ruleset), nil
}

// allowBeneath gives rights on everything below an open file.
func allowBeneath(ruleset int, rule *unix.LandlockPathBeneathAttr) error {
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
