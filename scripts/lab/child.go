package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopLimit is how long a program may take to end by itself; the gateway drains for at most ten seconds.
const stopLimit = 15 * time.Second

// Child is a program that runs in a namespace.
type Child struct {
	name    string
	command *exec.Cmd
	log     string
	done    chan struct{}
	err     error // valid once done is closed
}

// StartChild starts a program in a namespace, with its output in a file. Signals from the terminal do not
// reach it: whoever started it ends its children in order.
func StartChild(n Namespace, log, program string, arguments ...string) (*Child, error) {
	return StartChildAt(n, Place{}, log, program, arguments...)
}

// Place says where and how urgently a program runs.
type Place struct {
	CPUs string // those it may use, as lists of CPUs are written; empty: all
	Nice int    // 19 gives way to everybody, -20 to nobody
}

// StartChildAt is StartChild for a program with a place of its own.
func StartChildAt(n Namespace, at Place, log, program string, arguments ...string) (*Child, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("make log of %q: %w", program, err)
	}
	defer out.Close()
	// nsenter, nice and taskset become the program, so that the process id is the program's.
	words := []string{"--net=" + n.path()}
	if at.Nice != 0 {
		words = append(words, "nice", "-n", strconv.Itoa(at.Nice))
	}
	if at.CPUs != "" {
		words = append(words, "taskset", "--cpu-list", at.CPUs)
	}
	command := exec.Command("nsenter", append(append(words, program), arguments...)...)
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if at.Nice != 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %q: %w", program, err)
	}
	if at.Nice != 0 {
		UrgeSession(command.Process.Pid, at.Nice)
	}
	child := &Child{name: program, command: command, log: log, done: make(chan struct{})}
	go func() {
		child.err = command.Wait()
		close(child.done)
	}()
	return child, nil
}

// UrgeSession gives a niceness to the session of a process. Where the kernel groups programs by their
// sessions, niceness counts within a session alone, and the session has one of its own (sched(7), autogroup).
// A kernel without that lacks the file, and needs nothing.
func UrgeSession(pid, nice int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(nice)), 0o644)
}

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the program ended; nil while it runs and after a good end.
func (c *Child) Err() error {
	if !c.Exited() {
		return nil
	}
	return c.err
}

// Log is the file with the program's output.
func (c *Child) Log() string { return c.log }

// PID is the program's process id.
func (c *Child) PID() int { return c.command.Process.Pid }

// Exited tells whether the program has ended.
func (c *Child) Exited() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the program; one that has ended already gets none.
func (c *Child) Signal(s os.Signal) error {
	if err := c.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", c.name, err)
	}
	return nil
}

// Stop ends the program by SIGTERM and, if it does not end, by SIGKILL.
func (c *Child) Stop() error {
	if c.Exited() {
		return nil
	}
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-time.After(stopLimit):
	}
	if err := c.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.done
	return fmt.Errorf("stop %s: it did not end within %s of SIGTERM", c.name, stopLimit)
}

// LastWords are the last lines that the program wrote.
func (c *Child) LastWords() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
