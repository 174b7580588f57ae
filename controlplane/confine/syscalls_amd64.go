package confine

import "golang.org/x/sys/unix"

const (
	machine = unix.AUDIT_ARCH_X86_64
	// foreignCalls is where the numbers of the x32 interface begin, which this machine's processes may use,
	// too; 0 where there are none.
	foreignCalls = 0x40000000
)

// machineCalls are what this machine has for calls that others make under other names.
func machineCalls() []uintptr {
	return []uintptr{unix.SYS_NEWFSTATAT, unix.SYS_POLL, unix.SYS_EPOLL_WAIT, unix.SYS_FADVISE64}
}
