package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// unpack takes one file out of the archive.
func unpack(t *testing.T, m made, name string) string {
	t.Helper()
	for reader := openArchive(t, m); ; {
		header, err := reader.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.HasSuffix(header.Name, name) {
			to := filepath.Join(t.TempDir(), filepath.Base(name))
			out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
			if err == nil {
				_, err = out.ReadFrom(reader)
			}
			if err != nil {
				t.Fatal(err)
			}
			out.Close()
			return to
		}
	}
}

// Goal: the list of materials names exactly what the shipped program is made of. Method: what `go version -m`
// says of the program in the package is compared with the list in the package.
func materials(t *testing.T, m made) {
	t.Helper()
	file, err := os.Open(unpack(t, m, "/usr/share/doc/culvert/culvert.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(file, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != cyclonedx.SpecVersion1_5 ||
		!strings.HasPrefix(bom.SerialNumber, "urn:uuid:") || bom.Metadata.Component.Version != "1.2.3" {
		t.Errorf("%+v", bom.Metadata)
	}
	listed := map[string]bool{}
	for _, part := range *bom.Components {
		listed[part.Name+" "+part.Version] = true
	}
	output, err := exec.Command("go", "version", "-m", unpack(t, m, "/usr/bin/culvert")).Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "dep" {
			continue
		}
		modules++
		if !listed[fields[1]+" "+fields[2]] {
			t.Errorf("%s %s is not in the list", fields[1], fields[2])
		}
	}
	// One more is Go itself; the dashboard's bundle, where there is one, brings the rest.
	if more := len(listed) - modules; modules == 0 || more < 1 || more > 1+len(bundled) {
		t.Errorf("%d parts for %d modules", len(listed), modules)
	}
	if needs := (*bom.Dependencies)[0].Dependencies; len(*needs) != len(listed) {
		t.Errorf("%d dependencies of %d parts", len(*needs), len(listed))
	}
}
