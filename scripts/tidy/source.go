package tidy

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// functionLinesMax counts lines that hold code: neither blank nor comment alone.
const functionLinesMax = 70

// Functions checks the length of functions and that nothing runs before main. Tests are exempt from the
// length: a table with one case a line may be long.
func Functions(t *Tree) Findings {
	var findings Findings
	for _, file := range t.where(func(f *File) bool { return f.Go != nil && !f.Generated }) {
		lines := file.Lines()
		for _, decl := range file.Go.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			at := t.line(function.Pos())
			if function.Recv == nil && function.Name.Name == "init" {
				findings.add(file.Path, at,
					"init runs unasked, in an order nobody sees; build the value where it is used")
			}
			if function.Body == nil || file.Test() {
				continue
			}
			open, closed := t.line(function.Body.Lbrace), t.line(function.Body.Rbrace)
			n := codeLines(lines[open:max(open, closed-1)])
			if n > functionLinesMax {
				findings.add(file.Path, at,
					"%s has %d lines of code, at most %d; name its steps and make them functions",
					function.Name.Name, n, functionLinesMax)
			}
		}
	}
	return findings
}

func codeLines(lines []string) int {
	n := 0
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if text != "" && !strings.HasPrefix(text, "//") {
			n++
		}
	}
	return n
}

// builders are functions whose result never changes afterwards.
var builders = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParseAddr", "netip.MustParsePrefix",
	"strings.NewReplacer", "template.Must", "binary.LittleEndian", "reflect.TypeFor", "crc32.MakeTable",
	"netip.AddrFrom4", "netip.AddrFrom16", "time.Duration", "unsafe.Sizeof", "unsafe.Offsetof", "time.Unix",
}

// Variables checks that packages keep no state of their own: a variable at the top is a table that nobody
// changes, an error, an embedded file or what the linker sets.
func Variables(t *Tree) Findings {
	var findings Findings
	written := writtenNames(t)
	for _, file := range t.sources() {
		for _, decl := range file.Go.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				value := spec.(*ast.ValueSpec)
				for _, name := range value.Names {
					why := ""
					if written[file.Folder()][name.Name] {
						why = "it is written to"
					} else if name.Name != "_" {
						why = mutable(value)
					}
					if why != "" {
						findings.add(file.Path, t.line(name.Pos()),
							"%s is state of a package (%s); make it a field of the value that owns it",
							name.Name, why)
					}
				}
			}
		}
	}
	return findings
}

// mutable says why a variable may change although nothing assigns to it; empty if it may not.
func mutable(spec *ast.ValueSpec) string {
	kinds := []ast.Expr{}
	if spec.Type != nil {
		kinds = append(kinds, spec.Type)
	}
	for _, value := range spec.Values {
		if address, ok := value.(*ast.UnaryExpr); ok && address.Op == token.AND {
			value = address.X
		}
		switch v := value.(type) {
		case *ast.CompositeLit:
			kinds = append(kinds, v.Type)
		case *ast.CallExpr:
			name := dotted(v.Fun)
			foreign := strings.Contains(name, ".") && !slices.Contains(builders, name)
			if foreign || name == "make" || name == "new" {
				return "made by " + name
			}
		}
	}
	for _, kind := range kinds {
		if name := dotted(kind); strings.HasPrefix(name, "sync.") || strings.HasPrefix(name, "atomic.") {
			return "a " + name
		}
		if _, ok := kind.(*ast.ChanType); ok {
			return "a channel"
		}
	}
	return ""
}

// dotted is the name of a type or function as it is written, without type parameters and stars.
func dotted(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return dotted(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return dotted(e.X)
	case *ast.IndexExpr:
		return dotted(e.X)
	case *ast.ParenExpr:
		return dotted(e.X)
	}
	return ""
}

// writtenNames finds, per folder, the names at package level that a function assigns to, counts up, or takes
// the whole address of. Local names that hide them are told apart by the parser's own resolution.
func writtenNames(t *Tree) map[string]map[string]bool {
	written := map[string]map[string]bool{}
	for _, file := range t.sources() {
		names := written[file.Folder()]
		if names == nil {
			names = map[string]bool{}
			written[file.Folder()] = names
		}
		mark := func(e ast.Expr) {
			if name := rootName(e); name != nil && name.Name != "_" && !local(file, name) {
				names[name.Name] = true
			}
		}
		ast.Inspect(file.Go, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if n.Tok != token.DEFINE {
						mark(left)
					}
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				// A pointer to one row of a table is how tables are read.
				if name, whole := n.X.(*ast.Ident); n.Op == token.AND && whole {
					mark(name)
				}
			case *ast.CallExpr:
				if name := dotted(n.Fun); (name == "delete" || name == "clear") && len(n.Args) > 0 {
					mark(n.Args[0])
				}
			}
			return true
		})
	}
	return written
}

// rootName is the variable that an expression like a.b[i].c begins with.
func rootName(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// local tells whether a name is declared inside a function: what is declared at the top of this file is in
// the file's own scope, and what another file declares is not resolved.
func local(file *File, name *ast.Ident) bool {
	return name.Obj != nil && file.Go.Scope.Lookup(name.Name) != name.Obj
}

// Unsafe checks that casts of memory stand only in files whose name says so.
func Unsafe(t *Tree) Findings {
	var findings Findings
	for _, file := range t.sources() {
		for _, spec := range file.Go.Imports {
			if spec.Path.Value == `"unsafe"` && !strings.HasSuffix(file.Path, "_unsafe.go") {
				findings.add(file.Path, t.line(spec.Pos()),
					"unsafe belongs into a file named …_unsafe.go, behind a function over checked sizes")
			}
		}
	}
	return findings
}

// errorWords begin messages that say less than verb and object would.
var errorWords = []string{"failed", "error", "cannot", "can't", "could not", "unable", "couldn't"}

// ErrorWords checks how error messages begin.
func ErrorWords(t *Tree) Findings {
	var findings Findings
	for _, file := range t.sources() {
		ast.Inspect(file.Go, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if name := dotted(call.Fun); name != "errors.New" && name != "fmt.Errorf" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				return true
			}
			for _, word := range errorWords {
				if strings.HasPrefix(strings.ToLower(text), word+" ") {
					findings.add(file.Path, t.line(literal.Pos()),
						"the message begins with %q; name verb and object: \"mmap fill ring: %%w\"", word)
				}
			}
			return true
		})
	}
	return findings
}
