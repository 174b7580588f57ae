package rules

import (
	"strings"

	"culvert/dataplane/point"
)

// template is a label's or annotation's text with places for what the point held.
type template []templatePart

// templatePart is text, or a name to be replaced by its value.
type templatePart struct {
	text   string
	name   name
	isName bool
}

// parseTemplate reads a text with {{ name }} in it.
func parseTemplate(source string) (template, *syntaxError) {
	var t template
	at := 0
	for {
		open := strings.Index(source[at:], "{{")
		if open < 0 {
			return append(t, templatePart{text: source[at:]}), nil
		}
		t = append(t, templatePart{text: source[at : at+open]})
		at += open
		length := strings.Index(source[at:], "}}")
		if length < 0 {
			return nil, wrong(at, "", "{{ is not closed by }}")
		}
		n, err := parse(source[at+2 : at+length])
		if err != nil {
			err.offset += at + 2
			return nil, err
		}
		if n.kind != nodeName {
			return nil, wrong(at+2+n.start, "",
				"a template holds one name, such as {{ tags.x }} or {{ field }}")
		}
		t = append(t, templatePart{name: n.name, isName: true})
		at += length + 2
	}
}

// names are the names that a template shows.
func (t template) names() []name {
	var names []name
	for _, part := range t {
		if part.isName {
			names = append(names, part.name)
		}
	}
	return names
}

// render writes a template with the values that a lookup gives.
func (t template) render(lookup func(name) string) string {
	var out strings.Builder
	for _, part := range t {
		if part.isName {
			out.WriteString(lookup(part.name))
		} else {
			out.WriteString(part.text)
		}
	}
	return out.String()
}

// kindHasNumber tells whether a captured value is eight bytes of bits.
func kindHasNumber(k point.Kind) bool { return k != point.Missing && k != point.String }
