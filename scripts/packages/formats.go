package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // makes "deb" known
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // makes "rpm" known
)

// packageWith makes a package of one of nfpm's formats.
func (b *build) packageWith(format, arch string, contents []entry) (string, error) {
	script := func(name string) string { return filepath.Join(b.root, "scripts/packages/maintainer", name) }
	about := nfpm.WithDefaults(&nfpm.Info{
		Name: "culvert", Arch: arch, Platform: "linux", Version: b.version, VersionSchema: "none",
		Release: "1", Section: "net", Priority: "optional", License: "Apache-2.0",
		Maintainer: "The Culvert authors <culvert@localhost>",
		Description: "telemetry gateway past the kernel's network stack\n" +
			"Takes telemetry packets off the network card by XDP and AF_XDP, checks alert rules on them\n" +
			"and writes them to InfluxDB, losing nothing without saying so.",
		MTime: b.date, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Recommends: []string{"ethtool", "iproute2"},
			Scripts: nfpm.Scripts{
				PostInstall: script("postinstall"), PreRemove: script("preremove"),
				PostRemove: script("postremove"),
			},
			// The name of the machine that builds is nobody's business, and would differ.
			RPM: nfpm.RPM{BuildHost: "culvert", Summary: "telemetry gateway past the kernel's network stack"},
		},
	})
	for _, e := range contents {
		c := &files.Content{Source: e.from, Destination: e.to, FileInfo: &files.ContentFileInfo{
			Owner: "root", Group: "root", Mode: e.mode.Perm(), MTime: b.date,
		}}
		switch {
		case e.from == "":
			c.Type = files.TypeDir
		case e.kept:
			c.Type = files.TypeConfigNoReplace
		}
		about.Contents = append(about.Contents, c)
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	if err := nfpm.PrepareForPackager(about, format); err != nil {
		return "", fmt.Errorf("prepare: %w", err)
	}
	name := packager.ConventionalFileName(about)
	return name, b.write(name, func(w io.Writer) error { return packager.Package(about, w) })
}

// write makes a file with what a function writes.
func (b *build) write(name string, fill func(io.Writer) error) error {
	file, err := os.Create(filepath.Join(b.out, name))
	if err != nil {
		return err
	}
	err = fill(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// archive makes the archive for hosts without a package manager: the same tree below one folder.
func (b *build) archive(arch string, contents []entry) (string, error) {
	top := fmt.Sprintf("culvert-%s-linux-%s", b.version, arch)
	name := top + ".tar.gz"
	return name, b.write(name, func(w io.Writer) error {
		packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		out := tar.NewWriter(packed)
		for _, e := range contents {
			if err := b.add(out, top, e); err != nil {
				return fmt.Errorf("add %s: %w", e.to, err)
			}
		}
		if err := out.Close(); err != nil {
			return err
		}
		return packed.Close()
	})
}

func (b *build) add(out *tar.Writer, top string, e entry) error {
	header := &tar.Header{
		Name: top + e.to, Mode: int64(e.mode.Perm()), ModTime: b.date, Format: tar.FormatUSTAR,
		Uname: "root", Gname: "root", Typeflag: tar.TypeReg,
	}
	if e.from == "" {
		header.Name, header.Typeflag = header.Name+"/", tar.TypeDir
		return out.WriteHeader(header)
	}
	text, err := os.ReadFile(e.from)
	if err != nil {
		return err
	}
	header.Size = int64(len(text))
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
