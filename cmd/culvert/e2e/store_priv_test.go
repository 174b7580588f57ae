package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// socketStore plays the part of systemd that keeps a service's descriptors while it starts anew.
type socketStore struct {
	path  string
	mutex sync.Mutex
	names []string
	files []*os.File
}

func newSocketStore(t *testing.T) *socketStore {
	t.Helper()
	s := &socketStore{path: filepath.Join(publicDir(t), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.path, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.mutex.Lock()
		defer s.mutex.Unlock()
		for _, file := range s.files {
			file.Close()
		}
	})
	go func() {
		message, control := make([]byte, 4096), make([]byte, 1024)
		for {
			n, rights, _, _, err := conn.ReadMsgUnix(message, control)
			if err != nil {
				return
			}
			s.take(string(message[:n]), control[:rights])
		}
	}()
	return s
}

// take keeps the descriptors of a message, as sd_notify(3) has it.
func (s *socketStore) take(message string, control []byte) {
	var name string
	store := false
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		store = store || line == "FDSTORE=1"
		if found, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = found
		}
	}
	parsed, err := unix.ParseSocketControlMessage(control)
	if err != nil || !store {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for i := range parsed {
		fds, err := unix.ParseUnixRights(&parsed[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			s.names = append(s.names, name)
			s.files = append(s.files, os.NewFile(uintptr(fd), name))
		}
	}
}

// pass lets a command run with what is kept, in the environment that systemd gives.
func (s *socketStore) pass(command *exec.Cmd) *exec.Cmd {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	// The process that will be culvert is the only one to know its number.
	line := "LISTEN_PID=$$ exec " + strings.Join(append([]string{culvert}, command.Args[1:]...), " ")
	command.Path, command.Args = "/bin/sh", []string{"sh", "-c", line}
	command.ExtraFiles = s.files
	command.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.path, fmt.Sprintf("LISTEN_FDS=%d", len(s.files)),
		"LISTEN_FDNAMES="+strings.Join(s.names, ":"))
	return command
}
