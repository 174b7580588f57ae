package tidy

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const dependenciesFile = "docs/dependencies.md"

var (
	requireLine  = regexp.MustCompile(`^(?:require )?\s*([a-z][^\s(]*\.[a-z]+/\S+) v\S+`)
	toolLine     = regexp.MustCompile(`^(?:tool )?\s*([a-z][^\s(]*\.[a-z]+/\S+)$`)
	majorSuffix  = regexp.MustCompile(`/v[0-9]+$`)
	describedRow = regexp.MustCompile("(?m)^\\| `([^`]+)`")
)

// Dependencies checks that docs/dependencies.md has a row for every module that the tree imports or runs as a
// tool, and none for another. What go.mod lists beyond those comes along with them.
func Dependencies(t *Tree) Findings {
	text, err := os.ReadFile(filepath.Join(t.Root, dependenciesFile))
	if err != nil {
		return Findings{{dependenciesFile, 0,
			"the file is missing; give each dependency a row: what for, why this one, how to leave"}}
	}
	described := []string{}
	for _, match := range describedRow.FindAllStringSubmatch(string(text), -1) {
		described = append(described, match[1])
	}
	used := usedModules(t)
	var findings Findings
	for _, module := range used {
		if !slices.Contains(described, module) {
			findings.add(dependenciesFile, 0,
				"no row for `%s`; say what it is for, why this one, and what it would take to leave", module)
		}
	}
	for _, module := range described {
		if !slices.Contains(used, module) {
			findings.add(dependenciesFile, 0,
				"there is a row for `%s`, which nothing uses; remove it", module)
		}
	}
	return findings
}

// usedModules are the modules that a Go file imports or a tool line names, without major versions, sorted.
func usedModules(t *Tree) []string {
	var required, used []string
	for _, file := range t.Files {
		if path.Base(file.Path) != "go.mod" {
			continue
		}
		for _, line := range file.Lines() {
			if match := requireLine.FindStringSubmatch(line); match != nil {
				required = append(required, match[1])
			}
		}
	}
	use := func(imported string) {
		// The longest module that contains the package is its module.
		best := ""
		for _, module := range required {
			if under(imported, []string{module}) && len(module) > len(best) {
				best = module
			}
		}
		if best != "" {
			used = append(used, majorSuffix.ReplaceAllString(best, ""))
		}
	}
	for _, file := range t.Files {
		if path.Base(file.Path) == "go.mod" {
			for _, line := range file.Lines() {
				if match := toolLine.FindStringSubmatch(line); match != nil {
					use(match[1])
				}
			}
		}
		if file.Go != nil {
			for _, spec := range file.Go.Imports {
				use(strings.Trim(spec.Path.Value, `"`))
			}
		}
	}
	slices.Sort(used)
	return slices.Compact(used)
}
