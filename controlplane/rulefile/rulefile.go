// Package rulefile reads rule files: YAML to the structs that dataplane/rules compiles, with the place of
// every word, so that all that is wrong is shown where it stands. It knows the keys of the file format; what
// they say is judged by dataplane/rules.
package rulefile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"culvert/controlplane/yamlfile"
	"culvert/dataplane/rules"
)

// Load reads all files that the patterns match, each once, in the order of the patterns and then of the
// names. A plain name must exist; a pattern with *, ? or [ may match nothing. Files of unit tests, which
// often lie beside the rules, are left out, unless there is nothing else. It returns all groups and all
// errors.
func Load(patterns []string) ([]rules.Group, []*rules.Error) {
	var groups []rules.Group
	var errs, tests []*rules.Error
	var seen []string
	for _, pattern := range patterns {
		files, err := match(pattern)
		if err != nil {
			errs = append(errs, &rules.Error{Position: rules.Position{File: pattern}, Message: err.Error()})
		}
		for _, file := range files {
			if slices.Contains(seen, file) {
				continue
			}
			seen = append(seen, file)
			content, err := read(file)
			if err != nil {
				errs = append(errs, &rules.Error{Position: rules.Position{File: file}, Message: err.Error()})
				continue
			}
			d, found := parse(file, content)
			if d.isTests {
				tests = append(tests, d.errs...)
				continue
			}
			groups, errs = append(groups, found...), append(errs, d.errs...)
		}
	}
	if len(tests) == len(seen) {
		errs = append(errs, tests...)
	}
	return groups, append(errs, duplicates(groups)...)
}

func match(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{filepath.Clean(pattern)}, nil
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("match pattern: %w", err)
	}
	return files, nil
}

func read(file string) ([]byte, error) {
	content, err := yamlfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return content, nil
}

// duplicates finds groups whose name another group has, in whatever file.
func duplicates(groups []rules.Group) []*rules.Error {
	var errs []*rules.Error
	first := map[string]rules.Position{}
	for i := range groups {
		name := &groups[i].Name
		at, ok := first[name.Source]
		if !ok {
			first[name.Source] = name.Position
			continue
		}
		errs = append(errs, rules.ErrorAt(name, 0, fmt.Sprintf("group %q is already at %s:%d:%d",
			name.Source, at.File, at.Line, at.Column), ""))
	}
	return errs
}

// Parse reads the content of one file; name is what errors call it. Groups of one name are not its business.
func Parse(name string, content []byte) ([]rules.Group, []*rules.Error) {
	d, groups := parse(name, content)
	return groups, d.errs
}

// parse is Parse with all that the decoder knows.
func parse(name string, content []byte) (*decoder, []rules.Group) {
	d, body := open(name, content, "a rule file")
	if body == nil {
		return d, nil
	}
	groups := d.file(body)
	rules.SortErrors(d.errs)
	return d, groups
}

// open reads the only document of a file. Its body is nil if the file is empty, or if that cannot be read.
// what is what messages call the file.
func open(name string, content []byte, what string) (d *decoder, body ast.Node) {
	// Some editors put a byte order mark in front.
	text := strings.ReplaceAll(strings.TrimPrefix(string(content), "\ufeff"), "\r\n", "\n")
	d = &decoder{document: &rules.Document{Name: name, Lines: strings.Split(text, "\n")}}
	if !utf8.ValidString(text) {
		d.notUTF8()
		return d, nil
	}
	tokens, excess := yamlfile.Tokens(text)
	if excess != nil {
		d.report(excess.Line, excess.Column, excess.Message, excess.Remedy)
		return d, nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		d.syntax(err)
		return d, nil
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(doc.Body, "", "%s is one document, this is the second", what)
			break
		}
		body = doc.Body
	}
	return d, body
}

// notUTF8 reports the first byte that is not UTF-8. Points with such text are refused, so a rule could only
// wait for them in vain.
func (d *decoder) notUTF8() {
	for i, line := range d.document.Lines {
		column := 0
		for at, r := range line {
			column++
			if _, size := utf8.DecodeRuneInString(line[at:]); r == utf8.RuneError && size == 1 {
				d.report(i+1, column, "a byte that is not UTF-8", "save the file in that encoding")
				return
			}
		}
	}
}

// syntax reports what the YAML parser found.
func (d *decoder) syntax(err error) {
	line, column, message := 1, 1, ""
	if e := yaml.Error(nil); errors.As(err, &e) {
		message = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			line, column = t.Position.Line, max(t.Position.Column, 1)
		}
	} else {
		message = err.Error()
	}
	hint := ""
	if strings.Contains(message, "flow map") || strings.Contains(message, "must be specified") ||
		strings.Contains(message, "reserved character") ||
		strings.Contains(message, "mapping value is not allowed") ||
		strings.Contains(message, "map key-value is pre-defined") {
		hint = "a text that YAML would take for something else goes in quotes"
	}
	d.report(line, column, "YAML: "+message, hint)
}

// report is an error at a place of the file that no node stands at.
func (d *decoder) report(line, column int, message, hint string) {
	e := &rules.Error{
		Position: rules.Position{File: d.document.Name, Line: line, Column: column},
		Message:  message, Hint: hint,
	}
	if line <= len(d.document.Lines) {
		e.Line = d.document.Lines[line-1]
	}
	d.errs = append(d.errs, e)
}
