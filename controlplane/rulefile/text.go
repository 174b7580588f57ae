package rulefile

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"culvert/dataplane/rules"
)

// text reads a string with the places of its parts.
func (d *decoder) text(n ast.Node, what string) rules.Text {
	t := d.at(n)
	switch n := n.(type) {
	case *ast.StringNode:
		t.Source = n.Value
		c := cursor{lines: d.document.Lines, line: t.Position.Line - 1, column: t.Position.Column - 1}
		switch n.GetToken().Type {
		case token.DoubleQuoteType:
			c.quote, c.column = '"', c.column+1
		case token.SingleQuoteType:
			c.quote, c.column = '\'', c.column+1
		}
		t.Marks = c.marks(t.Source)
	case *ast.LiteralNode:
		t.Source = n.Value.Value
		t.Marks = d.blockMarks(t)
	default:
		d.fail(n, stringHint(n, what), "%s is %s, want a string", what, kindOf(n))
	}
	return t
}

// blockMarks are the places of the lines of a block behind | or >.
func (d *decoder) blockMarks(t rules.Text) []rules.Mark {
	c := cursor{lines: d.document.Lines, line: t.Position.Line - 1}
	c.column = len([]rune(c.current()))
	c.nextLine()
	return c.marks(t.Source)
}

// cursor walks through the file along with a string that was read from it, so as to know where each part of
// the string stands. YAML folds lines, strips indentation and resolves escapes; the cursor follows by
// comparing, and stops where it loses the thread: then the last mark stands for the rest.
type cursor struct {
	lines        []string
	line, column int  // from 0; column in characters
	quote        rune // 0 for plain texts and blocks
}

func (c *cursor) current() string {
	if c.line < 0 || c.line >= len(c.lines) {
		return ""
	}
	return c.lines[c.line]
}

// rest is the line from the cursor on.
func (c *cursor) rest() string {
	line := []rune(c.current())
	if c.column >= len(line) {
		return ""
	}
	return string(line[c.column:])
}

// nextLine moves to the first character of the next line that is not blank.
func (c *cursor) nextLine() {
	for c.line++; c.line < len(c.lines); c.line++ {
		line := c.lines[c.line]
		if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" {
			c.column = utf8.RuneCountInString(line) - utf8.RuneCountInString(trimmed)
			return
		}
	}
}

func (c *cursor) mark(offset int) rules.Mark {
	return rules.Mark{Offset: offset, Line: c.line + 1, Column: c.column + 1}
}

// marks follows the whole text. A mark is set at its start, after each change of line and after each escape.
func (c *cursor) marks(text string) []rules.Mark {
	marks := []rules.Mark{c.mark(0)}
	// A block may start with spaces beyond its indentation, which nextLine passed.
	jumped := c.quote == 0
	for offset, r := range text {
		rest := c.rest()
		if (r == ' ' || r == '\n') && strings.TrimRight(rest, " \t") == "" {
			c.nextLine()
			jumped = true
			continue
		}
		if jumped && (r == ' ' || r == '\t' || r == '\n') {
			// What is left of the indentation, or an empty line, which nextLine passed already.
			continue
		}
		if jumped {
			marks = append(marks, c.mark(offset))
			jumped = false
		}
		width := c.width(rest, r)
		if width == 0 {
			return marks
		}
		c.column += width
		if width > 1 {
			marks = append(marks, c.mark(offset+utf8.RuneLen(r)))
		}
	}
	return marks
}

// width is how many characters of the file stand for a character of the text; 0 if they do not match.
func (c *cursor) width(rest string, r rune) int {
	first, _ := utf8.DecodeRuneInString(rest)
	switch {
	case c.quote == '\'' && strings.HasPrefix(rest, "''"):
		return 2
	case c.quote == '"' && first == '\\' && len(rest) > 1:
		switch rest[1] {
		case 'x':
			return 4
		case 'u':
			return 6
		case 'U':
			return 10
		}
		return 2
	case first == r && rest != "":
		return 1
	}
	return 0
}
