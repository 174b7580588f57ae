package confine

import (
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h). Of an argument the low half is read, which both machines
// have first.
const (
	numberOffset   = 0
	machineOffset  = 4
	argumentOffset = 16
)

const refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)

// Filter is a program for seccomp: the list's calls and new threads are allowed, everything else gets
// `otherwise` (SECCOMP_RET_…); system calls of another machine's numbering end the process. `further` are
// allowed in addition. The kernel runs the program once for each number and keeps the answer (Linux 5.11), so
// that its length costs nothing; clone alone is looked at each time.
func Filter(otherwise uint32, further ...uintptr) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// skipUnless goes on where the condition holds, else behind the next instruction.
	skipUnless := func(comparison uint16, value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | comparison, Jf: 1, K: value}
	}
	answer := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	program := []unix.SockFilter{
		load(machineOffset),
		{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, Jt: 1, K: machine},
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(numberOffset),
	}
	if foreignCalls != 0 {
		program = append(program, skipUnless(unix.BPF_JGE, foreignCalls),
			answer(unix.SECCOMP_RET_KILL_PROCESS))
	}
	for _, number := range append(systemCalls(), further...) {
		program = append(program, skipUnless(unix.BPF_JEQ, uint32(number)),
			answer(unix.SECCOMP_RET_ALLOW))
	}
	return append(program,
		// A thread of this process, not a process of its own.
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ, Jf: 3, K: unix.SYS_CLONE},
		load(argumentOffset),
		skipUnless(unix.BPF_JSET, unix.CLONE_THREAD),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(otherwise))
}
