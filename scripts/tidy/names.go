package tidy

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

// emptyWords are words that say nothing, with what to say instead.
var emptyWords = map[string]string{
	"util": "name what it does", "utils": "name what it does", "helper": "name what it does",
	"helpers": "name what it does", "manager": "name what it owns",
	"handler": "name the verb: serve, receive, …",
	"data":    "say payload, frame, points, body, …", "info": "say what is known: state, version, driver, …",
	"process": "say what happens: decode, evaluate, append, …",
}

// fileWords are no names for files and packages.
var fileWords = []string{
	"util", "utils", "helper", "helpers", "common", "misc", "types", "manager", "handler",
}

// fixedNames are given by interfaces of others.
var fixedNames = []string{"Handler", "ServeHTTP"}

// Names checks file and package names and what is declared at the top level. Local names are the reader's
// business, and names of other packages are theirs.
func Names(t *Tree) Findings {
	var findings Findings
	for _, file := range t.Files {
		separator := func(r rune) bool { return strings.ContainsRune("_.-", r) }
		parts := strings.FieldsFunc(path.Base(file.Path), separator)
		parts = append(parts, strings.Split(file.Folder(), "/")...)
		for _, part := range parts {
			if slices.Contains(fileWords, part) {
				findings.add(file.Path, 0,
					"%q is no name for a file or folder; name the one concept that it holds", part)
			}
		}
	}
	for _, file := range t.sources() {
		// What mirrors a kernel structure keeps the kernel's words.
		mirrors := strings.HasSuffix(file.Path, "_unsafe.go")
		for _, name := range declared(file.Go, !mirrors) {
			words := Words(name.Name)
			for _, word := range words {
				if say := emptyWords[word]; say != "" && !slices.Contains(fixedNames, name.Name) {
					findings.add(file.Path, t.line(name.Pos()),
						"%s holds the word %q; %s", name.Name, word, say)
				}
			}
			if len(words) > 1 && words[0] == "get" && isFunction(file.Go, name) {
				findings.add(file.Path, t.line(name.Pos()),
					"%s begins with Get; leave it out", name.Name)
			}
			if stutters(file.Go.Name.Name, name.Name) {
				findings.add(file.Path, t.line(name.Pos()),
					"%s.%s says the package's name again; leave it out", file.Go.Name.Name, name.Name)
			}
		}
	}
	return findings
}

// declared are the names at the top level, methods included, and on demand the fields of structs.
func declared(file *ast.File, withFields bool) []*ast.Ident {
	var names []*ast.Ident
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name)
					if withFields {
						names = append(names, fields(s.Type)...)
					}
				case *ast.ValueSpec:
					if d.Tok == token.VAR || d.Tok == token.CONST {
						names = append(names, s.Names...)
					}
				}
			}
		}
	}
	return names
}

func fields(kind ast.Expr) []*ast.Ident {
	structure, ok := kind.(*ast.StructType)
	if !ok {
		return nil
	}
	var names []*ast.Ident
	for _, field := range structure.Fields.List {
		names = append(names, field.Names...)
	}
	return names
}

func isFunction(file *ast.File, name *ast.Ident) bool {
	return slices.ContainsFunc(file.Decls, func(decl ast.Decl) bool {
		function, ok := decl.(*ast.FuncDecl)
		return ok && function.Name == name
	})
}

// stutters tells whether an exported name begins with its package's: xsk.XSKSocket.
func stutters(pkg, name string) bool {
	if !ast.IsExported(name) || len(name) <= len(pkg) || !strings.EqualFold(name[:len(pkg)], pkg) {
		return false
	}
	next := rune(name[len(pkg)])
	return unicode.IsUpper(next)
}

// Words cuts a name at its capitals, in lower case: "readHTTPHead" is read, http, head.
func Words(name string) []string {
	var words []string
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i := 1; i < len(runes); i++ {
		before, here := runes[i-1], runes[i]
		switch {
		case here == '_':
			cut(i)
			start = i + 1
		case unicode.IsUpper(here) && !unicode.IsUpper(before) && before != '_':
			cut(i)
		case unicode.IsUpper(before) && unicode.IsLower(here) && i-1 > start:
			cut(i - 1)
		}
	}
	cut(len(runes))
	return words
}
