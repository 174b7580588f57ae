package main

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"culvert/controlplane/attach"
	"culvert/controlplane/gateway"
)

// The exit codes, as docs and service files may rely on; 69, 77 and 78 are those of sysexits.
const (
	exitDone        = 0
	exitFailed      = 1  // it failed while running
	exitUsage       = 2  // wrong usage
	exitUnavailable = 69 // something required is not there
	exitPrivilege   = 77 // not enough privilege
	exitConfig      = 78 // the configuration is wrong
)

// exitError is an error that knows how the program shall end.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

// Unwrap is the error itself.
func (e *exitError) Unwrap() error { return e.err }

// exit gives an error its exit code.
func exit(code int, err error) error { return &exitError{code: code, err: err} }

// exitCode finds the exit code of an error: the one it was given, or else the one of its kind.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	var given *exitError
	if errors.As(err, &given) {
		return given.code
	}
	var obstacle *attach.Error
	if errors.As(err, &obstacle) {
		if obstacle.Kind == attach.Privilege {
			return exitPrivilege
		}
		// The interface is missing, taken by another program, or cannot do what was asked.
		return exitUnavailable
	}
	var demand *gateway.PlanError
	if errors.As(err, &demand) {
		if demand.Absent {
			return exitUnavailable
		}
		return exitConfig
	}
	// A port or a queue that another program has, a way of receiving that the driver does not offer.
	for _, absent := range []error{syscall.EADDRINUSE, syscall.EBUSY, syscall.EOPNOTSUPP} {
		if errors.Is(err, absent) {
			return exitUnavailable
		}
	}
	// ENOBUFS is how AF_XDP says that RLIMIT_MEMLOCK, or CAP_IPC_LOCK, does not suffice for the memory asked.
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOBUFS) {
		return exitPrivilege
	}
	return exitFailed
}

// oneLine is an error's text on one line: joined errors are separated by semicolons.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
