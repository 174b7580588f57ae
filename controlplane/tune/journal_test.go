package tune

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJournalFailure(t *testing.T) {
	f := func(want string, text string) {
		t.Helper()
		h := newHost(t, map[string]string{"a": "1"})
		if err := os.MkdirAll(h.state, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.state, "tune.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := h.session("eth1", [2]string{"a", "2"}).Apply()
			if err == nil || !strings.Contains(err.Error(), want) || h.values("a") != "1" {
				t.Errorf("%v, want %q; a is %s", err, want, h.values("a"))
			}
		}
	}
	f("unexpected end", "{")
	f("it names /proc/../etc/shadow", `{"version": 1, "boot": "boot-1", "entries": [
		{"kind": "file", "name": "proc/../etc/shadow", "for": "eth1"}]}`)
	f("it names /boot/a", `{"version": 1, "boot": "boot-1", "entries": [
		{"kind": "file", "name": "boot/a", "for": "eth1"}]}`)
	f("it has version 9, and this program knows 1", `{"version": 9}`)
	h := newHost(t, map[string]string{"a": "1"})
	held, err := openJournal(h.state, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.session("eth1").Apply(); err == nil || !strings.Contains(err.Error(),
		"another `culvert tune`") {
		t.Errorf("a second tune at the same time: %v", err)
	}
	if err := held.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(h.root, bootFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.session("eth1").Apply(); err == nil || !strings.Contains(err.Error(), "id of this boot") {
		t.Errorf("no boot id: %v", err)
	}
}

// Goal: a journal that another user could have written is refused, since root writes what it says.
func TestJournalOfOthers(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1"})
	h.apply(h.session("eth1", [2]string{"a", "2"}), 1)
	file := filepath.Join(h.state, "tune.json")
	refused := func(what string) {
		t.Helper()
		if _, err := h.session("eth1").Revert(); err == nil || h.values("a") != "2" {
			t.Errorf("%s: %v, a is %s", what, err, h.values("a"))
		}
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	refused("a file that all may write")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file+".real", file); err != nil {
		t.Fatal(err)
	}
	refused("a link")
	if err := os.Rename(file+".real", file); err != nil {
		t.Fatal(err)
	}
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "1" {
		t.Errorf("after revert %q", got)
	}
}

// Goal: what another user could have written is in nobody's way after a reboot, and not believed.
func TestJournalOfOthersAfterReboot(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1"})
	h.apply(h.session("eth1", [2]string{"a", "2"}), 1)
	file := filepath.Join(h.state, "tune.json")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	h.put(bootFile, "boot-2")
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "2" {
		t.Errorf("the journal of another boot was obeyed: a is %q", got)
	}
	h.apply(h.session("eth1", [2]string{"a", "3"}), 1)
	about, err := os.Stat(file)
	if err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("the new journal: %v, %v", about, err)
	}
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "2" {
		t.Errorf("after revert %q", got)
	}
}
