package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const top = "../.." // of the sources

// made is one build for this machine in all formats.
type made struct {
	dir   string
	files map[string]string // by format
}

// packages builds from the sources at a place.
func packages(t *testing.T, root, name string, date time.Time) made {
	t.Helper()
	b := &build{root: root, out: t.TempDir(), work: t.TempDir(), name: name, date: date, vcs: "false",
		version: packageVersion(name, date)}
	if err := b.writeManual(); err != nil {
		t.Fatal(err)
	}
	m := made{dir: b.out, files: map[string]string{}}
	for _, format := range []string{"deb", "rpm", "tar"} {
		file, err := b.pack(format, runtime.GOARCH)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		m.files[format] = filepath.Join(b.out, file)
	}
	return m
}

// copySources copies what git knows or would add.
func copySources(t *testing.T) string {
	t.Helper()
	command := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	command.Dir = top
	list, err := command.Output()
	if err != nil {
		t.Skipf("the sources cannot be listed: %v", err)
	}
	names := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
	// The dashboard's bundle is made, and is part of the program where it was.
	bundle, err := filepath.Glob(filepath.Join(top, "web/dist/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range bundle {
		names = append(names, filepath.Join("web/dist", filepath.Base(file)))
	}
	to := t.TempDir()
	for _, name := range names {
		if about, err := os.Lstat(filepath.Join(top, name)); err == nil && !about.Mode().IsRegular() {
			continue // Links are in trees for tests alone.
		}
		text, err := os.ReadFile(filepath.Join(top, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // Removed and not yet committed.
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestPackages makes them once for all that is asked of them.
func TestPackages(t *testing.T) {
	date := time.Unix(1700000000, 0).UTC()
	first := packages(t, top, "v1.2.3", date)
	t.Run("reproducible", func(t *testing.T) { reproducible(t, first, date) })
	t.Run("materials", func(t *testing.T) { materials(t, first) })
	t.Run("archive", func(t *testing.T) { archive(t, first, date) })
	t.Run("rpm", func(t *testing.T) { readByRPM(t, first) })
	t.Run("debian", func(t *testing.T) { installDebian(t, first, date) })
}

// Goal: two builds are the same to the last bit, wherever the sources lie, whatever their files' times and
// modes, and whoever builds when.
func reproducible(t *testing.T, first made, date time.Time) {
	t.Helper()
	t.Setenv("TZ", "Pacific/Auckland")
	second := packages(t, copySources(t), "v1.2.3", date)
	for format, file := range first.files {
		a, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(second.files[format])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %d and %d bytes, and not the same", filepath.Base(file), len(a), len(b))
		}
	}
}

// openArchive reads the archive, until the test ends.
func openArchive(t *testing.T, m made) *tar.Reader {
	t.Helper()
	file, err := os.Open(m.files["tar"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return tar.NewReader(unpacked)
}

// Goal: the archive holds all that a package does, below one folder, owned by root.
func archive(t *testing.T, m made, date time.Time) {
	t.Helper()
	var names []string
	for reader := openArchive(t, m); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(date) {
			t.Errorf("%s: owner %d:%d, time %v", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		names = append(names, header.Name)
	}
	prefix := "culvert-1.2.3-linux-" + runtime.GOARCH
	for _, want := range wanted {
		if !slices.Contains(names, prefix+want) {
			t.Errorf("the archive lacks %s", want)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("the archive is not in order")
	}
}

// wanted are some of each sort that must be in every package.
var wanted = []string{
	"/usr/bin/culvert", "/usr/lib/systemd/system/culvert.service",
	"/usr/lib/systemd/system/culvert-tune@.service", "/usr/lib/sysusers.d/culvert.conf",
	"/usr/lib/tmpfiles.d/culvert.conf",
	"/etc/culvert/culvert.yaml", "/usr/share/man/man1/culvert-doctor.1.gz",
	"/usr/share/bash-completion/completions/culvert", "/usr/share/culvert/culvert.schema.json",
	"/usr/share/doc/culvert/culvert.cdx.json", "/usr/share/culvert/grafana/culvert.json",
	"/usr/share/doc/culvert/examples/rules/bearing.yaml",
}

// Goal: rpm itself reads the package: its digests hold, its files and scripts are there.
func readByRPM(t *testing.T, m made) {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is missing (scripts/setup packages)")
	}
	rpm := func(arguments ...string) string {
		t.Helper()
		command := exec.Command("rpm", append(arguments, m.files["rpm"])...)
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("rpm %q: %v: %s", arguments, err, output)
		}
		return string(output)
	}
	if got := rpm("-K", "--nosignature"); !strings.Contains(got, "digests OK") {
		t.Errorf("rpm -K: %s", got)
	}
	list := strings.Fields(rpm("-qlp"))
	for _, want := range wanted {
		if !slices.Contains(list, want) {
			t.Errorf("the package lacks %s", want)
		}
	}
	if got := rpm("-qp", "--scripts"); !strings.Contains(got, "systemd-sysusers") {
		t.Errorf("scripts: %s", got)
	}
	if got := strings.Fields(rpm("-qcp")); !slices.Equal(got, []string{"/etc/culvert/culvert.yaml"}) {
		t.Errorf("configuration files: %q", got)
	}
}

func TestPackageVersion(t *testing.T) {
	date := time.Date(2026, 11, 26, 19, 30, 0, 0, time.UTC)
	f := func(name, want string) {
		t.Helper()
		if got := packageVersion(name, date); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	f("v1.2.3", "1.2.3")
	f("v1.2.3-4-gabcdef", "1.2.3+4.gabcdef")
	f("v1.2.3-dirty", "1.2.3+dirty")
	f("abcdef0", "0~20261126.193000.abcdef0")
	f("1234567-dirty", "0~20261126.193000.1234567.dirty")
}

// Goal: versions come one after another as they were made, by dpkg's own order.
func TestPackageVersionOrder(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is missing")
	}
	day := time.Date(2026, 11, 26, 19, 30, 0, 0, time.UTC)
	order := []string{
		packageVersion("fffffff", day), packageVersion("0000000", day.Add(time.Minute)),
		packageVersion("v0.1.0", day), packageVersion("v0.1.0-3-gabc", day), packageVersion("v0.1.1", day),
	}
	for i := 1; i < len(order); i++ {
		if err := exec.Command("dpkg", "--compare-versions", order[i-1], "lt", order[i]).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", order[i-1], order[i], err)
		}
	}
}
