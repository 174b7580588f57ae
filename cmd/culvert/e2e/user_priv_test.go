package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// asUser, in the environment, has the suite's gateways run as the unit runs them (`make test-user`): as a
// user without rights, with the unit's capabilities, pins and folders. So does `culvert attach`, the unit's
// second pre-step; other commands stay root's, who administers the host.
const asUser = "CULVERT_AS_USER"

// rootAlone skips a test of what the service's user cannot do by design.
func rootAlone(t *testing.T, why string) {
	t.Helper()
	if os.Getenv(asUser) == "1" {
		t.Skip("as root alone: " + why)
	}
}

// asRoot has a command run as root also where the suite's gateways do not: what it shows is root's to see.
func asRoot(command *exec.Cmd) *exec.Cmd {
	command.SysProcAttr = &syscall.SysProcAttr{}
	return command
}

// asService changes a command that is about to start in the lab's gateway namespace, if it is the gateway's
// and the suite runs as a user. A test that chose a user itself has its way.
func asService(t *testing.T, lab *testenv.Lab, command *exec.Cmd) {
	t.Helper()
	if os.Getenv(asUser) != "1" || command.Path != culvert || command.SysProcAttr != nil ||
		len(command.Args) < 2 || command.Args[1] != "run" && command.Args[1] != "attach" {
		return
	}
	serviceHost(t, lab)
	for _, folder := range foldersOf(t, command.Args) {
		hand(t, folder)
	}
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: serviceCapabilities(),
	}
}

// serviceHost gives the lab's gateway namespace what systemd and the unit's first pre-step give the service,
// once: a BPF file system and folders that belong to the user. They vanish with the lab.
func serviceHost(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	const pins, state = "/run/culvert/bpf", "/var/lib/culvert"
	ready := func() bool {
		var about unix.Stat_t
		return unix.Stat(pins, &about) == nil && about.Uid == nobody
	}
	for _, folder := range []string{filepath.Dir(pins), pins, state} {
		err := os.Mkdir(folder, 0o755)
		if err == nil {
			t.Cleanup(func() { os.Remove(folder) })
		} else if !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	owned := fmt.Sprintf("uid=%d,gid=%d,mode=0750", nobody, nobody)
	err := lab.Gateway.Do(func() error {
		if ready() {
			return nil
		}
		// The namespace's thread ends with the lab, and so do these mounts.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("bpf", pins, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount a BPF file system: %w", err)
		}
		if err := os.Chown(pins, nobody, nobody); err != nil {
			return err
		}
		if err := unix.Mount("state", state, "tmpfs", 0, owned); err != nil {
			return fmt.Errorf("mount folders for the state: %w", err)
		}
		var err error
		for _, name := range []string{"spool", "state"} {
			folder := filepath.Join(state, name)
			err = errors.Join(err, os.Mkdir(folder, 0o750), os.Chown(folder, nobody, nobody))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// temporary finds the folders of tests that a text names: what is right below the one for temporary files.
var temporary = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/[^/\s"',}\]]+`)

// foldersOf are the tests' folders that a command line names, or the configuration that it names.
func foldersOf(t *testing.T, arguments []string) (folders []string) {
	t.Helper()
	text := strings.Join(arguments, "\n")
	for i, argument := range arguments {
		if argument != "-c" || i+1 == len(arguments) {
			continue
		}
		if config, err := os.ReadFile(arguments[i+1]); err == nil {
			text += "\n" + string(config)
		}
	}
	for _, folder := range temporary.FindAllString(text, -1) {
		// That of the binary is everybody's.
		if !strings.HasPrefix(culvert, folder+"/") {
			folders = append(folders, folder)
		}
	}
	return folders
}

// hand gives a folder with all that is in it to the service's user, and lets others look into it.
func hand(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // It went meanwhile.
		}
		if err != nil {
			return err
		}
		if err := os.Lchown(path, nobody, nobody); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err == nil {
		err = os.Chmod(folder, 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
