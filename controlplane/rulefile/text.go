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
		c := cursor{d: d, line: t.Position.Line - 1, column: t.Position.Column - 1}
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
	c := cursor{d: d, line: t.Position.Line - 1}
	c.column = len(d.spread(c.line).runes)
	c.nextLine()
	return c.marks(t.Source)
}

// spreadLine is a line of the file by its characters. A file may be one long line with many texts in it, so
// it is spread out once for all of them.
type spreadLine struct {
	number int
	runes  []rune
	blank  int // where nothing but blanks follows
}

// spread is a line, counted from 0; an empty one where the file has no such line.
func (d *decoder) spread(number int) *spreadLine {
	if d.line.runes != nil && d.line.number == number {
		return &d.line
	}
	text := ""
	if number >= 0 && number < len(d.document.Lines) {
		text = d.document.Lines[number]
	}
	d.line = spreadLine{number: number, runes: []rune(text),
		blank: utf8.RuneCountInString(strings.TrimRight(text, " \t"))}
	return &d.line
}

// cursor walks through the file along with a string that was read from it, so as to know where each part of
// the string stands. YAML folds lines, strips indentation and resolves escapes; the cursor follows by
// comparing, and stops where it loses the thread: then the last mark stands for the rest.
type cursor struct {
	d            *decoder
	line, column int  // from 0; column in characters
	quote        rune // 0 for plain texts and blocks
}

// rest is the line from the cursor on, and blank tells whether it holds nothing but blanks.
func (c *cursor) rest() (rest []rune, blank bool) {
	line := c.d.spread(c.line)
	return line.runes[min(c.column, len(line.runes)):], c.column >= line.blank
}

// nextLine moves to the first character of the next line that is not blank.
func (c *cursor) nextLine() {
	for c.line++; c.line < len(c.d.document.Lines); c.line++ {
		line := c.d.document.Lines[c.line]
		if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" {
			c.column = len(line) - len(trimmed)
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
		rest, blank := c.rest()
		if (r == ' ' || r == '\n') && blank {
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
func (c *cursor) width(rest []rune, r rune) int {
	if len(rest) == 0 {
		return 0
	}
	switch {
	case c.quote == '\'' && len(rest) > 1 && rest[0] == '\'' && rest[1] == '\'':
		return 2
	case c.quote == '"' && rest[0] == '\\' && len(rest) > 1:
		switch rest[1] {
		case 'x':
			return 4
		case 'u':
			return 6
		case 'U':
			return 10
		}
		return 2
	case rest[0] == r:
		return 1
	}
	return 0
}
