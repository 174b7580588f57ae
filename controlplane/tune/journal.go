package tune

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// journalVersion changes when the file's meaning does. A journal of another version is refused: to guess at
// what is to be restored is worse than to ask.
const journalVersion = 1

// Entry is one change that was begun.
type Entry struct {
	Setting
	For    string `json:"for"` // the interface that the host was tuned for
	Before string `json:"before"`
	After  string `json:"after"` // as wanted; once Done as the kernel gave it back
	Done   bool   `json:"done"`
	// Disturbed: it is dealt out anew by changes that reset the link, so it is kept from before the first of
	// them, whether it is changed or not, and restored after the last of them is undone.
	Disturbed bool `json:"disturbed,omitempty"`
}

// journal is the file with all entries, oldest first. It is locked while it is open.
type journal struct {
	Version int     `json:"version"`
	Boot    string  `json:"boot"` // the kernel's id of the boot in which the changes were made
	Entries []Entry `json:"entries"`

	path string
	lock *os.File
}

// openJournal reads the journal in a directory, which is made. One of another boot is empty, whoever wrote
// it: nothing of it is in force.
func openJournal(dir, boot string) (_ *journal, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &journal{path: filepath.Join(dir, "tune.json")}
	j.lock, err = os.OpenFile(filepath.Join(dir, "tune.lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	defer func() {
		if err != nil {
			j.lock.Close()
		}
	}()
	if err := unix.Flock(int(j.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock the journal: %w: another `culvert tune` is at work", err)
	}
	text, err := readOwn(j.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errForeign) && ofAnotherBoot(text, boot) {
		j.Version, j.Boot = journalVersion, boot
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, fmt.Errorf("read the journal %s: %w", j.path, err)
	}
	if j.Version != journalVersion {
		return nil, fmt.Errorf("read the journal %s: it has version %d, and this program knows %d", j.path,
			j.Version, journalVersion)
	}
	for _, e := range j.Entries {
		if e.Kind == File && !settable(e.Name) {
			return nil, fmt.Errorf("read the journal %s: it names /%s, which is no setting", j.path, e.Name)
		}
	}
	if j.Boot != boot {
		j.Boot, j.Entries = boot, nil
	}
	return j, nil
}

// settable tells whether a path from the root is below /proc or /sys.
func settable(name string) bool {
	inside := strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "sys/")
	return inside && filepath.Clean(name) == name
}

// errForeign is of a journal that another user may have written.
var errForeign = errors.New("is not this user's alone")

// readOwn reads a file that this user wrote. The state directory belongs to the gateway's user, and what the
// journal says is written to the host as root: a journal of another user's making would be a way in. Its text
// comes with the error.
func readOwn(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var about unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &about); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err == nil && (int(about.Uid) != os.Geteuid() || about.Mode&0o022 != 0) {
		err = fmt.Errorf("%s %w (owner %d, mode %o): remove it if you know whose it is", path, errForeign,
			about.Uid, about.Mode&0o777)
	}
	return text, err
}

// ofAnotherBoot tells whether a journal says so itself.
func ofAnotherBoot(text []byte, boot string) bool {
	var about struct{ Boot string }
	return json.Unmarshal(text, &about) == nil && about.Boot != "" && about.Boot != boot
}

func (j *journal) close() error { return j.lock.Close() }

// save puts the journal on disk, whole or not at all. An empty one is removed.
func (j *journal) save() error {
	dir := filepath.Dir(j.path)
	if len(j.Entries) == 0 {
		if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the journal: %w", err)
		}
		return syncDir(dir)
	}
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	file, err := os.CreateTemp(dir, ".tune-*")
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(append(text, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), j.path)
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// find is the place of the entry for a setting made for an interface, or -1.
func (j *journal) find(s Setting, iface string) int {
	return slices.IndexFunc(j.Entries, func(e Entry) bool { return e.Setting == s && e.For == iface })
}

// bootID is the kernel's name for this boot.
func bootID(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
