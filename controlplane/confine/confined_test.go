//go:build !cgo

package confine

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The race detector brings C code into a test binary, whose threads Go cannot change: this runs without.

// Goal: what is confined can do its work and nothing else, on all threads: no program can be started, no
// process looked at, no file touched outside of the folders; and the result says what is in force. Method: a
// process that confines itself and tries.
func TestConfined(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"read", "write", "other"} {
		if err := errors.Join(os.Mkdir(filepath.Join(folder, name), 0o700),
			os.WriteFile(filepath.Join(folder, name, "file"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), confined+"="+folder)
	command.Stderr = os.Stderr
	output, err := command.Output()
	var got outcome
	if err := errors.Join(err, json.Unmarshal(output, &got)); err != nil {
		t.Fatalf("%v: %q", err, output)
	}
	if !got.Confinement.Dropped || !strings.HasPrefix(got.Confinement.Syscalls, "limited to") {
		t.Fatalf("%+v", got.Confinement)
	}
	// Whether the kernel has it is asked here, and not of what is tested.
	_, err = landlockVersion()
	if limited := strings.HasPrefix(got.Confinement.Files, "limited by Landlock"); limited != (err == nil) {
		t.Errorf("%q, and the kernel says: %v", got.Confinement.Files, err)
	}
	noFiles := err != nil
	if noFiles {
		t.Logf("this kernel has no Landlock (%v): files are not tried", err)
	}
	for name := range attempts(folder) {
		failure, tried := got.Attempts[name]
		switch {
		case !tried:
			t.Errorf("%s: was not tried", name)
		case strings.HasPrefix(name, "no file: "):
			denied := strings.Contains(failure, "permission denied") ||
				strings.Contains(failure, "cross-device")
			if !noFiles && !denied {
				t.Errorf("%s: %q", name, failure)
			}
		case strings.HasPrefix(name, "no call: "):
			if !strings.Contains(failure, "operation not permitted") {
				t.Errorf("%s: %q", name, failure)
			}
		case failure != "":
			t.Errorf("%s: %s", name, failure)
		}
	}
}
