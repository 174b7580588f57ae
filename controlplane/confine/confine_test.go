package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// confined names the environment variable by which this test binary, started again, confines itself. Nothing
// that is confined can be freed, so each test is a process of its own.
const confined = "CULVERT_TEST_CONFINED"

func TestMain(m *testing.M) {
	if folder := os.Getenv(confined); folder != "" {
		os.Exit(beConfined(folder))
	}
	os.Exit(m.Run())
}

// outcome is what a confined process found out: the error of each attempt, empty where it succeeded.
type outcome struct {
	Confinement Confinement
	Attempts    map[string]string
}

// beConfined confines this process to a folder and tries what it may and what it may not.
func beConfined(folder string) int {
	// A thread that is there before: what holds for the process must hold for it, too.
	ask, answer := make(chan func() error), make(chan error)
	go func() {
		for attempt := range ask {
			answer <- attempt()
		}
	}()
	c, err := Drop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o := outcome{Confinement: c.Enclose(Files{Read: []string{"/proc", filepath.Join(folder, "read")},
		Write: []string{filepath.Join(folder, "write"), filepath.Join(folder, "absent")}}),
		Attempts: map[string]string{}}
	try := func(name string, attempt func() error) {
		ask <- attempt
		o.Attempts[name] = ""
		if err := <-answer; err != nil {
			o.Attempts[name] = err.Error()
		}
	}
	for name, attempt := range attempts(folder) {
		try(name, attempt)
	}
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return 1
	}
	return 0
}

// attempts are by name; those that begin with "no " must fail.
func attempts(folder string) map[string]func() error {
	in := func(parts ...string) string { return filepath.Join(append([]string{folder}, parts...)...) }
	call := func(number uintptr, arguments ...uintptr) func() error {
		arguments = append(arguments, 0, 0, 0)
		return func() error {
			if _, _, errno := unix.RawSyscall(number, arguments[0], arguments[1], arguments[2]); errno != 0 {
				return errno
			}
			return nil
		}
	}
	return map[string]func() error{
		"read what may be read": func() error { _, err := os.ReadFile(in("read", "file")); return err },
		"read /proc":            func() error { _, err := os.ReadFile("/proc/self/status"); return err },
		"write, rename and remove": func() error {
			return errors.Join(os.WriteFile(in("write", "a"), nil, 0o600), os.Rename(in("write", "a"),
				in("write", "b")), os.Remove(in("write", "b")), os.MkdirAll(in("write", "c", "d"), 0o700))
		},
		"listen": func() error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			return l.Close()
		},
		"start a thread": func() error {
			block, done := make(chan struct{}), make(chan struct{})
			for range 20 {
				go func() {
					var moment unix.Timespec
					moment.Nsec = int64(time.Millisecond)
					_ = unix.Nanosleep(&moment, nil)
					<-block
					done <- struct{}{}
				}()
			}
			close(block)
			for range 20 {
				<-done
			}
			return nil
		},
		"no file: read elsewhere": func() error { _, err := os.ReadFile(in("other", "file")); return err },
		"no file: write there":    func() error { return os.WriteFile(in("read", "new"), nil, 0o600) },
		"no file: move out of the folder": func() error {
			return errors.Join(os.WriteFile(in("write", "e"), nil, 0o600),
				os.Rename(in("write", "e"), in("other", "e")))
		},
		"no call: execve": func() error { return syscall.Exec("/proc/self/exe", nil, nil) },
		"no call: run": func() error {
			command := exec.Command("/proc/self/exe")
			command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
			return command.Run()
		},
		"no call: ptrace":      call(unix.SYS_PTRACE, unix.PTRACE_TRACEME),
		"no call: read memory": call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid())),
		"no call: fork":        call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
		"no call: clone3":      call(unix.SYS_CLONE3),
		"no call: unshare":     call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		"no call: mount":       call(unix.SYS_MOUNT),
		"no call: setuid":      call(unix.SYS_SETUID),
		"no call: capset":      call(unix.SYS_CAPSET),
		"no call: kill":        call(unix.SYS_KILL, uintptr(os.Getpid())),
		"no call: keyctl":      call(unix.SYS_KEYCTL),
		"no call: chroot":      call(unix.SYS_CHROOT),
		"no call: init_module": call(unix.SYS_INIT_MODULE),
		"no call: a new one":   call(4000), // numbers are given out one by one, and there are not 500
	}
}

// Goal: the list has each call once, and none that starts programs, looks into processes or gains rights.
func TestSystemCalls(t *testing.T) {
	seen := map[uintptr]bool{}
	for _, number := range systemCalls() {
		if seen[number] {
			t.Errorf("call %d is there twice", number)
		}
		seen[number] = true
	}
	for _, number := range []uintptr{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_CLONE,
		unix.SYS_PROCESS_VM_WRITEV, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_MOUNT, unix.SYS_SETUID,
		unix.SYS_CAPSET, unix.SYS_PERF_EVENT_OPEN, unix.SYS_KILL, unix.SYS_FCHOWN} {
		if seen[number] {
			t.Errorf("call %d is in the list", number)
		}
	}
}

// Goal: each version of Landlock is asked for what it has and nothing newer, which it would refuse.
func TestHandledRights(t *testing.T) {
	for version, want := range map[int]uint64{1: 0x1fff, 2: 0x3fff, 3: 0x7fff, 4: 0x7fff, 5: 0xffff,
		9: 0xffff} {
		if got := handledRights(version); got != want {
			t.Errorf("version %d: %#x, want %#x", version, got, want)
		}
	}
}

// Goal: a folder that is not there yet, or that may not be looked at, is left out without an error.
func TestAllowPathLeavesOut(t *testing.T) {
	if err := allowPath(-1, filepath.Join(t.TempDir(), "absent"), rightsRead); err != nil {
		t.Errorf("absent: %v", err)
	}
	if err := allowPath(-1, t.TempDir(), rightsRead); !errors.Is(err, unix.EBADF) &&
		!errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, unix.ENOSYS) {
		t.Errorf("no rules to add to: %v", err)
	}
}
