package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Tree is the source tree as the rules see it. It is read once and not changed afterwards.
type Tree struct {
	Root  string
	Set   *token.FileSet
	Files []*File // sorted by path
}

// File is one text file of the tree.
type File struct {
	Path      string // from the root, with slashes
	Text      []byte
	Go        *ast.File // nil if this is no Go file
	Generated bool
}

// Finding is one place where a rule does not hold.
type Finding struct {
	Path    string
	Line    int // 0 stands for the whole file
	Message string
}

// Findings are what a rule found.
type Findings []Finding

func (f *Findings) add(path string, line int, format string, arguments ...any) {
	*f = append(*f, Finding{path, line, fmt.Sprintf(format, arguments...)})
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.Path, f.Message)
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Message)
}

// Folder is the file's directory, "." at the root.
func (f *File) Folder() string { return path.Dir(f.Path) }

// Test tells whether the file is a Go test.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Lines cuts the text into lines without their ends.
func (f *File) Lines() []string {
	return strings.Split(strings.TrimSuffix(string(f.Text), "\n"), "\n")
}

var (
	skippedFolders = []string{".git", "build", "bin", "testdata", "node_modules", ".vagrant"}
	textSuffixes   = []string{".go", ".c", ".h", ".sh", ".md", ".yaml", ".yml", ".mod", ".rb"}
	textNames      = []string{"Makefile", "Vagrantfile", "LICENSE"}

	generatedHeader = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
)

// ReadTree reads every text file below the root: the known kinds, and scripts that say so in their first
// line.
func ReadTree(root string) (*Tree, error) {
	tree := &Tree{Root: root, Set: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(skippedFolders, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return tree.add(filepath.ToSlash(relative), text)
	})
	if err != nil {
		return nil, fmt.Errorf("read tree %q: %w", root, err)
	}
	return tree, nil
}

// add takes one file in; one that is no text is left out.
func (t *Tree) add(name string, text []byte) error {
	base := path.Base(name)
	known := slices.Contains(textNames, base) || slices.Contains(textSuffixes, path.Ext(base))
	if !known && !bytes.HasPrefix(text, []byte("#!")) {
		return nil
	}
	file := &File{Path: name, Text: text}
	if path.Ext(base) == ".go" {
		parsed, err := parser.ParseFile(t.Set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		file.Go = parsed
		before := text[:t.Set.Position(parsed.Package).Offset]
		file.Generated = generatedHeader.Match(before)
	}
	t.Files = append(t.Files, file)
	return nil
}

// line is the line of a position within its file.
func (t *Tree) line(pos token.Pos) int { return t.Set.Position(pos).Line }

// sources are the Go files that people wrote, without tests.
func (t *Tree) sources() []*File {
	return t.where(func(f *File) bool { return f.Go != nil && !f.Generated && !f.Test() })
}

func (t *Tree) where(keep func(*File) bool) []*File {
	var files []*File
	for _, file := range t.Files {
		if keep(file) {
			files = append(files, file)
		}
	}
	return files
}

// Check applies every rule to the tree.
func Check(t *Tree) Findings {
	var findings Findings
	for _, rule := range []func(*Tree) Findings{
		Imports, Text, Headers, Functions, Variables, Unsafe, ErrorWords,
		Names, Comments, Dependencies, Documents,
	} {
		findings = append(findings, rule(t)...)
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return findings
}
