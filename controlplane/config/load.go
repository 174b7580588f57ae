package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"culvert/controlplane/yamlfile"
)

// Load reads a configuration file. It returns either a valid configuration, complete with defaults, or all
// that is wrong, in the order of the file.
func Load(path string) (*Config, []*Error) {
	text, err := yamlfile.Read(path)
	if err != nil {
		message := fmt.Sprintf("read configuration: %v", err) // The path stands in front.
		return nil, []*Error{{Position: Position{File: path}, Message: message}}
	}
	return Parse(path, text)
}

// Parse is Load for a text that is already there; path is where it would stand, for errors and relative
// paths.
func Parse(path string, text []byte) (*Config, []*Error) {
	// Some editors put a byte order mark in front.
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	c := Default()
	c.File = path
	d := &decoder{
		positions: positions{file: path, lines: strings.Split(string(text), "\n"), at: map[string]place{}},
		anchors:   map[string]ast.Node{},
	}
	if root := d.parse(text); root != nil {
		d.mapping(root, reflect.ValueOf(c).Elem(), "")
	} else if len(d.errors) == 0 {
		d.missing(reflect.TypeFor[Config](), nil, "")
	}
	c.positions = d.positions
	wrong := d.errors
	if len(wrong) == 0 {
		// Relations are only looked at once every value is what it should be: one mistake, one error.
		if err := c.complete(os.Hostname); err != nil {
			wrong = append(wrong, c.positions.errorf("gateway.id", "read the host's name: %v; set it", err))
		}
		c.resolve(filepath.Dir(path))
		wrong = append(wrong, c.Validate()...)
	}
	if len(wrong) == 0 {
		return c, nil
	}
	slices.SortStableFunc(wrong, func(a, b *Error) int {
		return cmp.Or(a.Position.Line-b.Position.Line, a.Position.Column-b.Position.Column)
	})
	return nil, wrong
}

// resolve makes relative paths start at the file's folder, wherever the gateway was started from.
func (c *Config) resolve(folder string) {
	absolute := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
	for i := range c.Rules.Files {
		absolute(&c.Rules.Files[i])
	}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		for _, path := range []*string{&s.TokenFile, &s.TLS.CAFile, &s.TLS.CertFile, &s.TLS.KeyFile} {
			absolute(path)
		}
	}
	absolute(&c.Rejects.Dir)
	absolute(&c.Spool.Dir)
}

// Mistake is an error about a value that only others can judge, shown where its key stands in the file.
func (c *Config) Mistake(key, format string, arguments ...any) *Error {
	return c.positions.errorf(key, format, arguments...)
}

// parse gives the file's one document, or nil if it is empty or not YAML.
func (d *decoder) parse(text []byte) ast.Node {
	if line, column, ok := notUTF8(d.positions.lines); ok {
		d.errors = append(d.errors, d.positions.errorAt(place{line, column}, "",
			"a byte that is not UTF-8: save the file in that encoding"))
		return nil
	}
	// What would keep the parser busy is refused before. Duplicate keys are found by mapping, so that they
	// stand among all other errors.
	tokens, excess := yamlfile.Tokens(string(text))
	if excess != nil {
		d.errors = append(d.errors, d.positions.errorAt(place{excess.Line, excess.Column}, "",
			excess.Message+": "+excess.Remedy))
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			position := syntax.GetToken().Position
			d.errors = append(d.errors, d.positions.errorAt(place{position.Line, position.Column}, "",
				"not YAML: "+syntax.GetMessage()))
			return nil
		}
		first, _, _ := strings.Cut(err.Error(), "\n")
		d.errors = append(d.errors, d.positions.errorf("", "not YAML: %s", first))
		return nil
	}
	var root ast.Node
	for _, document := range file.Docs {
		if document.Body == nil || document.Body.Type() == ast.NullType {
			continue
		}
		if root != nil {
			d.fail(document.Body, "", "a second document: a configuration is one")
			return nil
		}
		root = document.Body
	}
	return root
}

// notUTF8 finds the first character that is not UTF-8, by line and column from 1.
func notUTF8(lines []string) (line, column int, found bool) {
	for i, text := range lines {
		if utf8.ValidString(text) {
			continue
		}
		for at, r := range text {
			column++
			if _, size := utf8.DecodeRuneInString(text[at:]); r == utf8.RuneError && size == 1 {
				return i + 1, column, true
			}
		}
	}
	return 0, 0, false
}

// place is a line and a column, both from 1.
type place struct{ line, column int }

// positions know where in the file each key's value stands.
type positions struct {
	file  string
	lines []string
	at    map[string]place // by the key's path
}

// errorf is an error about a key. A key that is not in the file is shown at the section it belongs to.
func (p *positions) errorf(key, format string, arguments ...any) *Error {
	where, path := place{}, key
	for path != "" {
		var ok bool
		if where, ok = p.at[path]; ok {
			break
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return p.errorAt(where, key, fmt.Sprintf(format, arguments...))
}

func (p *positions) errorAt(where place, key, message string) *Error {
	e := &Error{Position: Position{p.file, where.line, where.column}, Key: key, Message: message}
	if where.line >= 1 && where.line <= len(p.lines) {
		e.Source = strings.TrimRight(p.lines[where.line-1], "\r")
	}
	return e
}
