// Command packages makes what Culvert is shipped as: packages for Debian and for RPM, and an archive, each
// for amd64 and arm64.
//
//	culvert for GOARCH ─▶ manual, completions ─▶ contents ─▶ deb, rpm, tar.gz ─▶ SHA256SUMS
//
// The same sources give the same bytes: times are the last commit's, order is by name, and nothing of the
// machine that builds gets in. It runs at the top of the tree, by `make deb rpm tar`, and is a module of its
// own, so that the product needs nothing of what it needs.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// build is what is made, and from what.
type build struct {
	root    string // of the sources
	out     string // where packages go
	work    string // where programs and manuals lie meanwhile
	version string // as packages write it
	name    string // of the version, as the program says it
	date    time.Time
	vcs     string // -buildvcs of go build: whether the program knows its commit
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

func run() error {
	root := flag.String("root", ".", "top of the sources")
	out := flag.String("out", "dist", "directory for packages")
	name := flag.String("version", "", "version, as git describes it")
	date := flag.Int64("date", 0, "date of everything, in seconds since 1970: the last commit's")
	formats := flag.String("formats", "deb,rpm,tar", "what to make")
	vcs := flag.String("buildvcs", "true", "whether the program knows its commit, as go build has it")
	arches := flag.String("arches", "amd64,arm64", "for which machines")
	flag.Parse()
	if *name == "" || *date == 0 {
		return errors.New("-version and -date are needed")
	}
	b := &build{root: *root, out: *out, name: *name, date: time.Unix(*date, 0).UTC(), vcs: *vcs}
	b.version = packageVersion(*name, b.date)
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return fmt.Errorf("make the directory for packages: %w", err)
	}
	var err error
	if b.work, err = os.MkdirTemp("", "culvert-packages-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(b.work)
	if err := b.writeManual(); err != nil {
		return err
	}
	var made []string
	for _, arch := range strings.Split(*arches, ",") {
		if err := b.compile(arch); err != nil {
			return err
		}
		for _, format := range strings.Split(*formats, ",") {
			file, err := b.pack(format, arch)
			if err != nil {
				return fmt.Errorf("make the %s for %s: %w", format, arch, err)
			}
			made = append(made, file)
		}
	}
	return writeSums(b.out, made)
}

// release is a version that begins with a number, as tags do: v1.2.3, or v1.2.3-4-gabcdef after it.
var release = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*)(.*)$`)

// packageVersion is a version that both dpkg and rpm order and take. Without a tag it is before any release:
// its date, so that a later one is an upgrade, then what git said.
func packageVersion(name string, date time.Time) string {
	rest := strings.NewReplacer("-", ".", "_", ".").Replace
	if match := release.FindStringSubmatch(name); match != nil && strings.Contains(match[1], ".") {
		if match[2] == "" {
			return match[1]
		}
		return match[1] + "+" + strings.TrimPrefix(rest(match[2]), ".")
	}
	return "0~" + date.Format("20060102.150405") + "." + rest(name)
}

// program is where the binary for a machine lies.
func (b *build) program(arch string) string { return filepath.Join(b.work, "culvert-"+arch) }

// compile builds the binary as `make build` does, for another machine.
func (b *build) compile(arch string) error {
	command := exec.Command("go", "build", "-trimpath", "-buildvcs="+b.vcs,
		"-ldflags", "-s -w -X main.version="+b.name, "-o", b.program(arch), "./cmd/culvert")
	command.Dir = b.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off")
	command.Stderr = os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("compile culvert for %s: %w", arch, err)
	}
	return nil
}

// manual is where the manual pages and the completions lie.
func (b *build) manual() string { return filepath.Join(b.work, "manual") }

// writeManual lets a culvert for this machine write its manual.
func (b *build) writeManual() error {
	if err := os.MkdirAll(b.manual(), 0o755); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if err := b.compile(runtime.GOARCH); err != nil {
		return err
	}
	command := exec.Command(b.program(runtime.GOARCH), "man", "--dir", b.manual(),
		"--date", strconv.FormatInt(b.date.Unix(), 10))
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("write the manual: %w: %s", err, output)
	}
	return nil
}

// pack makes one package and returns its name.
func (b *build) pack(format, arch string) (string, error) {
	contents, err := b.contents(format, arch)
	if err != nil {
		return "", err
	}
	if format == "tar" {
		return b.archive(arch, contents)
	}
	return b.packageWith(format, arch, contents)
}

// writeSums writes the checksums of what was made, as sha256sum reads them.
func writeSums(dir string, made []string) error {
	slices.Sort(made)
	var lines strings.Builder
	for _, name := range made {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("sum up: %w", err)
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(text), name)
	}
	fmt.Print(lines.String())
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(lines.String()), 0o644); err != nil {
		return fmt.Errorf("sum up: %w", err)
	}
	return nil
}
