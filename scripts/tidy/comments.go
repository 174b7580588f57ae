package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// wellKnown are methods whose meaning an interface of the standard library, or of a library that asks for
// them, already gives.
var wellKnown = []string{
	"String", "Error", "Unwrap", "Is", "As", "Len", "Less", "Swap", "ServeHTTP", "Describe", "Collect",
	"Write", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText",
	"UnmarshalYAML", "MarshalYAML", "Timeout",
}

// Comments checks that every package says what it is, and every exported name what it is for, in sentences.
func Comments(t *Tree) Findings {
	var findings Findings
	described := map[string]bool{}
	first := map[string]*File{}
	for _, file := range t.where(func(f *File) bool { return f.Go != nil && !f.Test() }) {
		if first[file.Folder()] == nil {
			first[file.Folder()] = file
		}
		described[file.Folder()] = described[file.Folder()] || file.Go.Doc.Text() != ""
	}
	for _, file := range t.where(func(f *File) bool { return first[f.Folder()] == f }) {
		if described[file.Folder()] {
			continue
		}
		findings.add(file.Path, 1,
			"package %s has no comment; say in doc.go what it is and what it is not", file.Go.Name.Name)
	}
	for _, file := range t.sources() {
		if file.Go.Name.Name == "main" {
			continue // Nobody imports it.
		}
		for _, found := range undocumented(file.Go) {
			findings.add(file.Path, t.line(found.pos),
				"%s", found.message)
		}
	}
	return findings
}

type uncommented struct {
	pos     token.Pos
	message string
}

func undocumented(file *ast.File) []uncommented {
	var found []uncommented
	check := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		text := ""
		for _, doc := range docs {
			if text == "" {
				text = strings.TrimSpace(doc.Text())
			}
		}
		switch {
		case text == "":
			found = append(found, uncommented{name.Pos(), name.Name +
				" is exported without a comment; say what it is for and who owns what it returns"})
		case docs[0] != nil && text == strings.TrimSpace(docs[0].Text()) && !endsInStop(docs[0]):
			found = append(found, uncommented{name.Pos(), fmt.Sprintf(
				"the comment on %s is no sentence; end it in a stop", name.Name)})
		}
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if exportedReceiver(d) && !(d.Recv != nil && slices.Contains(wellKnown, d.Name.Name)) {
				check(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					check(s.Name, orGroup(s.Doc, d.Doc), s.Comment)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						check(name, orGroup(s.Doc, d.Doc), s.Comment)
					}
				}
			}
		}
	}
	return found
}

// orGroup is a declaration's own comment, else that of its group: "The reasons for …" above an enumeration.
func orGroup(own, group *ast.CommentGroup) *ast.CommentGroup {
	if own != nil {
		return own
	}
	return group
}

func exportedReceiver(function *ast.FuncDecl) bool {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return true
	}
	return ast.IsExported(dotted(function.Recv.List[0].Type))
}

// endsInStop looks at the last line of a comment; a drawing or an example at its end needs no stop.
func endsInStop(doc *ast.CommentGroup) bool {
	text := strings.TrimRight(doc.Text(), "\n")
	last := text[strings.LastIndexByte(text, '\n')+1:]
	indented := strings.HasPrefix(last, "\t") || strings.HasPrefix(last, " ")
	return indented || strings.ContainsAny(text[len(text)-1:], ".:!?)")
}
