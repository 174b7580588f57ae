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
// user without rights, with the unit's capabilities and pins. So does `culvert attach`, the unit's
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
	for _, folder := range foldersOf(command.Args[1:]) {
		hand(t, folder)
	}
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: serviceCapabilities(),
	}
}

// serviceHost gives the lab's gateway namespace what the unit's first pre-step gives the service, once: a BPF
// file system of the user's. It vanishes with the lab. Folders for state are the tests' own.
func serviceHost(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	const pins = "/run/culvert/bpf"
	for _, folder := range []string{filepath.Dir(pins), pins} {
		err := os.Mkdir(folder, 0o755)
		if err == nil {
			t.Cleanup(func() { os.Remove(folder) })
		} else if !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	err := lab.Gateway.Do(func() error {
		var about unix.Stat_t
		if unix.Stat(pins, &about) == nil && about.Uid == nobody {
			return nil
		}
		// The namespace's thread ends with the lab, and so does this mount.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("bpf", pins, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount a BPF file system: %w", err)
		}
		return os.Chown(pins, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// temporary finds the folders of tests that a text names: what is right below the one for temporary files.
var temporary = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/[^/\s"',}\]]+`)

// foldersOf are the tests' folders that a command line names, or the configuration that it names.
func foldersOf(arguments []string) (folders []string) {
	text := ""
	for i, argument := range arguments {
		if rest, inside := strings.CutPrefix(argument, os.TempDir()+"/"); inside {
			// A test's name may have commas.
			first, _, _ := strings.Cut(rest, "/")
			folders = append(folders, filepath.Join(os.TempDir(), first))
		}
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
