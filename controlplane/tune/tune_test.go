package tune

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const bootFile = "proc/sys/kernel/random/boot_id"

// host is a directory with settings that are files.
type host struct {
	t     *testing.T
	root  string
	state string
}

func newHost(t *testing.T, files map[string]string) *host {
	h := &host{t: t, root: t.TempDir(), state: filepath.Join(t.TempDir(), "state")}
	h.put(bootFile, "boot-1")
	for name, text := range files {
		h.put(name, text)
	}
	return h
}

// below is a short name's place among the settings.
func below(name string) string {
	if strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "sys/") {
		return name
	}
	return "sys/" + name
}

func (h *host) put(name, text string) {
	h.t.Helper()
	file := filepath.Join(h.root, below(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) values(names ...string) string {
	h.t.Helper()
	var values []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(h.root, below(name)))
		if err != nil {
			h.t.Fatal(err)
		}
		values = append(values, strings.TrimSpace(string(text)))
	}
	return strings.Join(values, " ")
}

// session tunes for an interface, whose plan is these files with these values, in this order.
func (h *host) session(iface string, wanted ...[2]string) *Session {
	knobs := Machine{Root: h.root}
	s := &Session{Knobs: knobs, Root: h.root, StateDir: h.state, Interface: iface}
	s.Look = func() ([]Change, error) {
		var changes []Change
		for _, w := range wanted {
			setting := Setting{Kind: File, Name: below(w[0])}
			if now, err := s.Knobs.Read(setting); err == nil && now != w[1] {
				changes = append(changes, Change{Setting: setting, Now: now, Becomes: w[1], Why: "test"})
			}
		}
		return changes, nil
	}
	return s
}

func problems(outcomes []Outcome) string {
	var list []string
	for _, o := range outcomes {
		if o.Problem != nil {
			list = append(list, fmt.Sprintf("%s: %v", o.Setting, o.Problem))
		}
	}
	return strings.Join(list, "; ")
}

func (h *host) apply(s *Session, changed int) {
	h.t.Helper()
	outcomes, err := s.Apply()
	if err != nil || problems(outcomes) != "" || len(outcomes) != changed {
		h.t.Fatalf("apply: %d outcomes, want %d: %s, %v", len(outcomes), changed, problems(outcomes), err)
	}
}

func (h *host) revert(s *Session, want string) {
	h.t.Helper()
	outcomes, err := s.Revert()
	if got := problems(outcomes); err != nil || got != want {
		h.t.Fatalf("revert: %q, want %q; %v", got, want, err)
	}
}

func (h *host) journal() string {
	text, err := os.ReadFile(filepath.Join(h.state, "tune.json"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// Goal: apply, apply again, revert, revert again: the first of each changes everything, the second nothing.
func TestApplyAndRevert(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1", "b": "0-7", "c": "x"})
	s := h.session("eth1", [2]string{"a", "2"}, [2]string{"b", "3"}, [2]string{"c", "x"}, [2]string{"absent",
		"1"})
	h.apply(s, 2)
	if got := h.values("a", "b", "c"); got != "2 3 x" {
		t.Fatalf("after apply %q", got)
	}
	before := h.journal()
	h.apply(s, 0)
	if h.journal() != before {
		t.Errorf("a second apply changed the journal:\n%s", h.journal())
	}
	h.revert(s, "")
	if got := h.values("a", "b", "c"); got != "1 0-7 x" || h.journal() != "" {
		t.Fatalf("after revert %q, journal %q", got, h.journal())
	}
	h.revert(s, "")
}

// Goal: a plan that changes between two applies is undone to what was before the first.
func TestApplyTwiceKeepsTheFirstValue(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1"})
	h.apply(h.session("eth1", [2]string{"a", "2"}), 1)
	h.apply(h.session("eth1", [2]string{"a", "3"}), 1)
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "1" {
		t.Fatalf("after revert %q", got)
	}
}

// crash is a set of knobs under which the program ends before or after its n-th write.
type crash struct {
	Knobs
	writes int
	after  bool
}

var errCrash = errors.New("the program ends here")

func (c *crash) Write(s Setting, value string) error {
	c.writes--
	if c.writes < 0 {
		if c.after {
			if err := c.Knobs.Write(s, value); err != nil {
				return err
			}
		}
		panic(errCrash)
	}
	return c.Knobs.Write(s, value)
}

// dies runs a function that crashes.
func dies(t *testing.T, f func() ([]Outcome, error)) {
	t.Helper()
	defer func() {
		if r := recover(); r != errCrash {
			t.Fatalf("it did not crash: %v", r)
		}
	}()
	_, _ = f()
}

// Goal: after a crash at any write, of apply or of revert, before it or after it, revert restores everything.
// Method: what a crash leaves is what is on disk, so a session that is abandoned in a panic is one.
func TestRevertAfterCrash(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := range 3 {
			for _, undoing := range []bool{false, true} {
				h := newHost(t, map[string]string{"a": "1", "b": "2", "c": "3"})
				wanted := [][2]string{{"a", "10"}, {"b", "20"}, {"c", "30"}}
				if undoing {
					h.apply(h.session("eth1", wanted...), 3)
				}
				broken := h.session("eth1", wanted...)
				broken.Knobs = &crash{Knobs: broken.Knobs, writes: n, after: after}
				if undoing {
					dies(t, broken.Revert)
				} else {
					dies(t, broken.Apply)
				}
				h.revert(h.session("eth1"), "")
				if got := h.values("a", "b", "c"); got != "1 2 3" || h.journal() != "" {
					t.Fatalf("write %d, after it: %t, undoing: %t: %q, journal %q", n, after, undoing, got,
						h.journal())
				}
			}
		}
	}
}

// Goal: after a crash in apply a second apply completes it, and revert undoes both.
func TestApplyAfterCrash(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1", "b": "2"})
	wanted := [][2]string{{"a", "10"}, {"b", "20"}}
	broken := h.session("eth1", wanted...)
	broken.Knobs = &crash{Knobs: broken.Knobs, writes: 0, after: true}
	dies(t, broken.Apply)
	h.apply(h.session("eth1", wanted...), 1)
	if got := h.values("a", "b"); got != "10 20" {
		t.Fatalf("after the second apply %q", got)
	}
	h.revert(h.session("eth1"), "")
	if got := h.values("a", "b"); got != "1 2" {
		t.Fatalf("after revert %q", got)
	}
}

// Goal: two interfaces that share a setting may be reverted in either order, and the last one restores it.
func TestRevertSharedSetting(t *testing.T) {
	for _, order := range [][2]string{{"eth1", "eth2"}, {"eth2", "eth1"}} {
		h := newHost(t, map[string]string{"pages": "0"})
		h.apply(h.session("eth1", [2]string{"pages", "16"}), 1)
		h.apply(h.session("eth2", [2]string{"pages", "32"}), 1)
		h.revert(h.session(order[0]), "")
		if got := h.values("pages"); got == "0" {
			t.Errorf("%v: the first revert took the other's pages", order)
		}
		h.revert(h.session(order[1]), "")
		if got := h.values("pages"); got != "0" || h.journal() != "" {
			t.Errorf("%v: after both %q, journal %q", order, got, h.journal())
		}
	}
}

// Goal: what somebody else has set since is kept and named; the rest is restored, a second revert is quiet.
func TestRevertKeepsOthersChanges(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1", "b": "2"})
	h.apply(h.session("eth1", [2]string{"a", "10"}, [2]string{"b", "20"}), 2)
	h.put("a", "99")
	h.revert(h.session("eth1"), "/sys/a: it is \"99\", and was set to \"10\": "+ErrChangedSince.Error())
	if got := h.values("a", "b"); got != "99 2" {
		t.Fatalf("after revert %q", got)
	}
	h.revert(h.session("eth1"), "")
}

// Goal: after a reboot nothing of ours is in force: revert touches nothing, and apply starts a new journal.
func TestReboot(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1"})
	h.apply(h.session("eth1", [2]string{"a", "10"}), 1)
	h.put(bootFile, "boot-2")
	h.put("a", "5")
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "5" || h.journal() != "" {
		t.Fatalf("after revert %q, journal %q", got, h.journal())
	}
	h.apply(h.session("eth1", [2]string{"a", "10"}), 1)
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "5" {
		t.Fatalf("after the second revert %q", got)
	}
}

// stubborn makes something else of what is written to one setting.
type stubborn struct {
	Knobs
	name, value string
	refuse      bool
}

func (s *stubborn) Write(of Setting, value string) error {
	if of.Name == s.name && s.refuse {
		return os.ErrPermission
	}
	if of.Name == s.name {
		value = s.value
	}
	return s.Knobs.Write(of, value)
}

// Goal: a host that gives less than asked, or refuses, is reported; the rest is done; revert is exact.
func TestApplyReportsRefusal(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		h := newHost(t, map[string]string{"a": "0", "b": "2"})
		s := h.session("eth1", [2]string{"a", "32"}, [2]string{"b", "20"})
		s.Knobs = &stubborn{Knobs: s.Knobs, name: "sys/a", value: "7", refuse: refuse}
		outcomes, err := s.Apply()
		want := `/sys/a: the kernel made "7" of "32"`
		if refuse {
			want = "/sys/a: " + os.ErrPermission.Error()
		}
		if err != nil || len(outcomes) != 2 || problems(outcomes) != want {
			t.Fatalf("%d outcomes, %q, want %q; %v", len(outcomes), problems(outcomes), want, err)
		}
		if strings.Contains(h.journal(), `"sys/a"`) == refuse {
			t.Errorf("refused: %t, journal %s", refuse, h.journal())
		}
		h.revert(h.session("eth1"), "")
		if got := h.values("a", "b"); got != "0 2" {
			t.Fatalf("after revert %q", got)
		}
	}
}

// Goal: a setting that went meanwhile, as an interrupt does, is no obstacle to the others.
func TestRevertWithoutFile(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1", "b": "2"})
	h.apply(h.session("eth1", [2]string{"a", "10"}, [2]string{"b", "20"}), 2)
	if err := os.Remove(filepath.Join(h.root, "sys/b")); err != nil {
		t.Fatal(err)
	}
	h.revert(h.session("eth1"), "")
	if got := h.values("a"); got != "1" || h.journal() != "" {
		t.Fatalf("after revert %q, journal %q", got, h.journal())
	}
}

// leaving is a machine with an interface that has rings until it goes away.
type leaving struct {
	Machine
	rings string
	gone  bool
}

func (l *leaving) Read(s Setting) (string, error) {
	switch {
	case s.Kind == File:
		return l.Machine.Read(s)
	case l.gone:
		return "", fmt.Errorf("ask for the rings of %q: %w", s.Interface, unix.ENODEV)
	}
	return l.rings, nil
}

func (l *leaving) Write(s Setting, value string) error {
	if s.Kind == File {
		return l.Machine.Write(s, value)
	}
	l.rings = value
	return nil
}

// Goal: what was set of an interface that went away is no obstacle to restoring all else, and is forgotten.
// Method: one setting of its own, and one of the host.
func TestRevertWithoutInterface(t *testing.T) {
	h := newHost(t, map[string]string{"a": "1"})
	knobs := &leaving{Machine: Machine{Root: h.root}, rings: "rx 512 tx 512"}
	s := h.session("eth1")
	s.Knobs = knobs
	wanted := []Change{
		{Setting: Setting{Kind: Rings, Interface: "eth1"}, Becomes: "rx 4096 tx 512"},
		{Setting: Setting{Kind: File, Name: "sys/a"}, Becomes: "2"},
	}
	s.Look = func() (changes []Change, err error) {
		for _, c := range wanted {
			if c.Now, err = knobs.Read(c.Setting); err == nil && c.Now != c.Becomes {
				changes = append(changes, c)
			}
		}
		return changes, err
	}
	h.apply(s, len(wanted))
	knobs.gone = true
	outcomes, err := s.Revert()
	if err != nil || problems(outcomes) != "" || len(outcomes) != len(wanted) || h.values("a") != "1" ||
		h.journal() != "" {
		t.Errorf("%v, %+v; a is %s; the journal:\n%s", err, outcomes, h.values("a"), h.journal())
	}
}

// Goal: huge pages that a program is on are given back when it ends, which is no failure of revert; fewer
// than there were are one. Method: a kernel that makes something else of the number.
func TestRevertOfPagesInUse(t *testing.T) {
	const pages = "sys/nr_hugepages"
	for made, want := range map[string]string{
		"8": "", "1": `/sys/nr_hugepages: the kernel made "1" of "2"`,
	} {
		h := newHost(t, map[string]string{pages: "2"})
		h.apply(h.session("eth1", [2]string{pages, "8"}), 1)
		s := h.session("eth1")
		s.Knobs = &stubborn{Knobs: s.Knobs, name: pages, value: made}
		h.revert(s, want)
		if (h.journal() == "") != (want == "") {
			t.Errorf("%s pages are left, journal %q", made, h.journal())
		}
	}
}
