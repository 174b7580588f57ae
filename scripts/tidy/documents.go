package tidy

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	makeInText   = regexp.MustCompile("`make ([a-z][a-z-]*)\\b")
	makeInCode   = regexp.MustCompile(`(?:^|\s)make ([a-z][a-z-]*)\b`)
	makeTarget   = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
)

// Documents checks that the documents name files that exist and make targets that are there.
func Documents(t *Tree) Findings {
	var findings Findings
	targets := map[string]bool{}
	for _, file := range t.Files {
		if file.Path == "Makefile" {
			for _, match := range makeTarget.FindAllStringSubmatch(string(file.Text), -1) {
				targets[match[1]] = true
			}
		}
	}
	for _, file := range t.where(func(f *File) bool { return path.Ext(f.Path) == ".md" }) {
		code := false
		for i, line := range file.Lines() {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
				continue
			}
			for _, match := range markdownLink.FindAllStringSubmatch(line, -1) {
				target, _, _ := strings.Cut(match[1], "#")
				if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				place := filepath.Join(t.Root, filepath.FromSlash(path.Join(file.Folder(), target)))
				if _, err := os.Stat(place); err != nil {
					findings.add(file.Path, i+1,
						"the link leads to %q, which is not there", match[1])
				}
			}
			call := makeInText
			if code {
				call = makeInCode
			}
			for _, match := range call.FindAllStringSubmatch(line, -1) {
				if !targets[match[1]] {
					findings.add(file.Path, i+1,
						"there is no make target %q; `make help` lists them", match[1])
				}
			}
		}
	}
	return findings
}
