package confine

import "golang.org/x/sys/unix"

const (
	machine      = unix.AUDIT_ARCH_AARCH64
	foreignCalls = 0 // a process of 32 bits has another AUDIT_ARCH
)

// machineCalls are what this machine has for calls that others make under other names.
func machineCalls() []uintptr {
	return []uintptr{unix.SYS_FSTATAT, unix.SYS_FADVISE64}
}
