package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctlRoot is where the kernel's settings are files.
const sysctlRoot = "/proc/sys"

// socketSysctls are raised so that no receiver by sockets is held down by the distribution's defaults, be it
// that it asks for a large buffer or that it does not ask. They count for the whole machine.
var socketSysctls = []struct{ name, value string }{
	{"net/core/rmem_max", "67108864"}, {"net/core/rmem_default", "33554432"},
	{"net/core/wmem_max", "67108864"},
}

// sysctlNote is the file in the stage's folder that says how settings were before, one a line: also a run
// that dies is cleaned up after.
const sysctlNote = "sysctls"

// raise sets what can be set. A machine that refuses keeps what it has.
func raise(folder string) error {
	var note strings.Builder
	for _, setting := range socketSysctls {
		before, err := os.ReadFile(filepath.Join(sysctlRoot, setting.name))
		if err == nil {
			fmt.Fprintf(&note, "%s %s\n", setting.name, strings.TrimSpace(string(before)))
		}
	}
	if err := os.WriteFile(filepath.Join(folder, sysctlNote), []byte(note.String()), 0o644); err != nil {
		return fmt.Errorf("note the system's settings: %w", err)
	}
	for _, setting := range socketSysctls {
		// A refusal leaves the receivers with what there is.
		_ = os.WriteFile(filepath.Join(sysctlRoot, setting.name), []byte(setting.value), 0o644)
	}
	return nil
}

// restore sets back what the note in a folder says; without a note nothing was set.
func restore(folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, sysctlNote))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the note of the system's settings: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(value), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("set %s back: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
