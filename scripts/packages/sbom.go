package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// bundled are the packages of npm that the dashboard's bundle holds (web/build.mjs); the others only make or
// test it.
var bundled = [...]string{"uplot"}

// materials writes what the program for a machine is made of, in CycloneDX's format: the modules that the
// linker wrote into it, the Go release with its standard library, and what the dashboard holds. It returns
// the file. Nothing in it depends on when and where it is made.
func (b *build) materials(arch string) (string, error) {
	info, err := buildinfo.ReadFile(b.program(arch))
	if err != nil {
		return "", fmt.Errorf("read what culvert is made of: %w", err)
	}
	release := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	parts := []cyclonedx.Component{library("golang/std", "std", release, "")}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		parts = append(parts, library("golang/"+module.Path, module.Path, module.Version, module.Sum))
	}
	dashboard, err := b.dashboard()
	if err != nil {
		return "", err
	}
	return b.writeMaterials(arch, append(parts, dashboard...))
}

// library is one part: purl without its scheme and version, and the sum as go.sum has it (of the module's
// files, not of an archive, and so a property and not a hash).
func library(purl, name, version, sum string) cyclonedx.Component {
	url := fmt.Sprintf("pkg:%s@%s", purl, version)
	part := cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, BOMRef: url, Name: name,
		Version: version, PackageURL: url}
	if sum != "" {
		part.Properties = &[]cyclonedx.Property{{Name: "culvert:go.sum", Value: sum}}
	}
	return part
}

// dashboard is what the bundle holds; nothing where there is none, as the program then has the plain page.
func (b *build) dashboard() ([]cyclonedx.Component, error) {
	bundle, err := filepath.Glob(filepath.Join(b.root, "web/dist/*.js"))
	if err != nil || len(bundle) == 0 {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(b.root, "web/package-lock.json"))
	if err != nil {
		return nil, fmt.Errorf("read the dashboard's packages: %w", err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, fmt.Errorf("read the dashboard's packages: %w", err)
	}
	var parts []cyclonedx.Component
	for _, name := range bundled {
		locked, ok := lock.Packages["node_modules/"+name]
		if !ok {
			return nil, fmt.Errorf("the dashboard holds %s, and package-lock.json does not", name)
		}
		part := library("npm/"+name, name, locked.Version, "")
		if sum, ok := strings.CutPrefix(locked.Integrity, "sha512-"); ok {
			raw, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				return nil, fmt.Errorf("read the sum of %s: %w", name, err)
			}
			part.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA512,
				Value: fmt.Sprintf("%x", raw)}}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// writeMaterials writes the document about a program of these parts.
func (b *build) writeMaterials(arch string, parts []cyclonedx.Component) (string, error) {
	program, err := os.ReadFile(b.program(arch))
	if err != nil {
		return "", fmt.Errorf("sum up culvert: %w", err)
	}
	sum := sha256.Sum256(program)
	whole := cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, BOMRef: "culvert", Name: "culvert",
		Version:  b.version,
		Hashes:   &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sum)}},
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}}}
	var needs []string
	for i := range parts {
		needs = append(needs, parts[i].BOMRef)
	}
	bom := cyclonedx.NewBOM()
	// A UUID of version 8, whose bits are ours to choose: the program's sum says which document this is.
	id := bytes.Clone(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	bom.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	bom.Metadata = &cyclonedx.Metadata{Timestamp: b.date.Format(time.RFC3339), Component: &whole}
	bom.Components = &parts
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: whole.BOMRef, Dependencies: &needs}}
	name := filepath.Join(b.work, "culvert-"+arch+".cdx.json")
	file, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("write the list of materials: %w", err)
	}
	encoder := cyclonedx.NewBOMEncoder(file, cyclonedx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_5); err != nil {
		file.Close()
		return "", fmt.Errorf("write the list of materials: %w", err)
	}
	return name, file.Close()
}
