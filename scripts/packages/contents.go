package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// entry is one file or directory of a package.
type entry struct {
	to   string // from the root of the host
	mode os.FileMode
	from string // a file of ours; empty: a directory
	// kept: it is configuration, which an upgrade does not overwrite.
	kept bool
}

// contents are what a package holds, by name.
func (b *build) contents(format, arch string) ([]entry, error) {
	materials, err := b.materials(arch)
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(b.root, name) }
	const share, docs = "/usr/share/culvert/", "/usr/share/doc/culvert/"
	zsh := "/usr/share/zsh/vendor-completions/_culvert"
	if format == "rpm" {
		zsh = "/usr/share/zsh/site-functions/_culvert"
	}
	list := []entry{
		{to: "/usr/bin/culvert", from: b.program(arch), mode: 0o755},
		{to: "/usr/lib/systemd/system/culvert.service", from: at("deploy/systemd/culvert.service"),
			mode: 0o644},
		{to: "/usr/lib/systemd/system/culvert-tune@.service",
			from: at("deploy/systemd/culvert-tune@.service"), mode: 0o644},
		{to: "/usr/lib/sysusers.d/culvert.conf", from: at("deploy/systemd/culvert.sysusers.conf"),
			mode: 0o644},
		{to: "/usr/lib/tmpfiles.d/culvert.conf", from: at("deploy/systemd/culvert.tmpfiles.conf"),
			mode: 0o644},
		{to: "/etc/culvert/culvert.yaml", from: at("deploy/culvert.yaml"), mode: 0o644, kept: true},
		{to: "/etc/culvert/rules", mode: 0o755 | os.ModeDir},
		{to: "/etc/culvert/tokens", mode: 0o700 | os.ModeDir},
		{to: share + "culvert.schema.json", from: at("controlplane/config/schema.json"), mode: 0o644},
		{to: share + "grafana/culvert.json", from: at("deploy/grafana/culvert.json"), mode: 0o644},
		{to: share + "prometheus/culvert.rules.yml", from: at("deploy/prometheus/culvert.rules.yml"),
			mode: 0o644},
		{to: share + "prometheus/prometheus.yml", from: at("deploy/prometheus/prometheus.yml"), mode: 0o644},
		{to: "/usr/share/bash-completion/completions/culvert",
			from: filepath.Join(b.manual(), "culvert.bash"), mode: 0o644},
		{to: "/usr/share/fish/vendor_completions.d/culvert.fish",
			from: filepath.Join(b.manual(), "culvert.fish"), mode: 0o644},
		{to: zsh, from: filepath.Join(b.manual(), "_culvert"), mode: 0o644},
		{to: docs + "culvert.cdx.json", from: materials, mode: 0o644},
		{to: docs + "copyright", from: at("LICENSE"), mode: 0o644},
		{to: docs + "README.md", from: at("README.md"), mode: 0o644},
		{to: docs + "CHANGELOG.md", from: at("CHANGELOG.md"), mode: 0o644},
	}
	for _, folder := range []struct{ pattern, to string }{
		{"docs/*.md", docs}, {"docs/examples/rules/*.yaml", docs + "examples/rules/"},
	} {
		found, err := filepath.Glob(at(folder.pattern))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("find %s: %d files, %w", folder.pattern, len(found), err)
		}
		for _, file := range found {
			list = append(list, entry{to: folder.to + filepath.Base(file), from: file, mode: 0o644})
		}
	}
	pages, err := b.pages()
	if err != nil {
		return nil, err
	}
	list = append(list, pages...)
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.to, b.to) })
	return list, nil
}

// pages are the manual pages, compressed as distributions have them, without a time or a name inside.
func (b *build) pages() ([]entry, error) {
	found, err := filepath.Glob(filepath.Join(b.manual(), "*.1"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("find manual pages: %d, %w", len(found), err)
	}
	var list []entry
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("compress a manual page: %w", err)
		}
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return nil, fmt.Errorf("compress a manual page: %w", err)
		}
		if _, err := w.Write(text); err != nil {
			return nil, fmt.Errorf("compress a manual page: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("compress a manual page: %w", err)
		}
		if err := os.WriteFile(file+".gz", packed.Bytes(), 0o644); err != nil {
			return nil, fmt.Errorf("compress a manual page: %w", err)
		}
		list = append(list, entry{to: path.Join("/usr/share/man/man1", filepath.Base(file)+".gz"),
			from: file + ".gz", mode: 0o644})
	}
	return list, nil
}
