package gateway

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository's top folder, seen from here.
const root = "../.."

// Goal: the table of all queues is true. Method: each bound is compared with the constant that it names, in
// Go or in C, or with the default of its key in the reference of the configuration, which is made from the
// types.
func TestBoundsInDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "-run Bounds` -->\n")
	table, _, closed := strings.Cut(table, "<!-- end of bounds -->")
	if !found || !closed {
		t.Fatal("the table's place is not marked")
	}
	row := regexp.MustCompile("^\\| (.+) \\| `(\\S+)` \\| `(\\S+)`(?: `(\\w+)`)? \\| .+ \\|$")
	checked := 0
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if i < 2 {
			continue // the head
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no row of the table: %s", line)
			continue
		}
		checked++
		what, bound, from, name := m[1], m[2], m[3], m[4]
		got := ""
		switch {
		case name == "":
			got = keyDefault(t, from)
		case strings.HasSuffix(from, ".go"):
			got = goConstant(t, from, name)
		default:
			got = cConstant(t, from, name)
		}
		if got != bound {
			t.Errorf("%s: %s %s is %q, the table says %s", what, from, name, got, bound)
		}
	}
	if checked < 30 {
		t.Errorf("%d rows: the table was longer", checked)
	}
}

// keyDefault is the default of a key such as sinks.batch.bytes in docs/configuration.md.
func keyDefault(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	section, rest, _ := strings.Cut(key, ".")
	_, body, found := strings.Cut(string(text), "\n### `"+section+"`\n")
	if !found {
		t.Errorf("the configuration has no section %q", section)
		return ""
	}
	body, _, _ = strings.Cut(body, "\n### ")
	row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(rest) + "` \\| .*? \\| `(\\S+)` \\|")
	m := row.FindStringSubmatch(body)
	if m == nil {
		t.Errorf("the configuration has no key %q", key)
		return ""
	}
	return m[1]
}

// goConstant is the value of a constant in a Go file, which may be a number, a shift or a product.
func goConstant(t *testing.T, path, name string) (value string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, identifier := range spec.Names {
			if identifier.Name == name && i < len(spec.Values) {
				value = evaluate(spec.Values[i])
			}
		}
		return true
	})
	return value
}

func evaluate(e ast.Expr) string {
	value := constantOf(e)
	if value == nil {
		return "not a number"
	}
	return value.ExactString()
}

func constantOf(e ast.Expr) constant.Value {
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.BinaryExpr:
		x, y := constantOf(e.X), constantOf(e.Y)
		if x == nil || y == nil {
			return nil
		}
		if e.Op == token.SHL {
			shift, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(shift))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	return nil
}

func cConstant(t *testing.T, path, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^#define ` + name + ` (\d+)\b`).FindSubmatch(text)
	if m == nil {
		return ""
	}
	return string(m[1])
}
