package rules

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
)

// Error is one thing wrong in a rule file.
type Error struct {
	Position Position
	Message  string
	Hint     string // (optional) what was probably meant
	Line     string // (optional) the file's line, quoted by Detail
}

// Error is one line: file:line:col: message; without a place in the file, file: message.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s:%d:%d: %s", e.Position.File, e.Position.Line, e.Position.Column, e.Message)
	if e.Position.Line == 0 {
		text = e.Position.File + ": " + e.Message
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// detailBefore and detailBehind are how many characters Detail shows before and behind the place.
const detailBefore, detailBehind = 100, 60

// Detail is Error followed by the file's line and a caret under the place. Of a long line it shows what is
// around the place; what would steer a terminal is shown as a dot.
func (e *Error) Detail() string {
	if e.Line == "" {
		return e.Error()
	}
	line := []rune(e.Line)
	at := min(max(e.Position.Column-1, 0), len(line))
	from, to := max(at-detailBefore, 0), min(at+detailBehind, len(line))
	var text, caret strings.Builder
	if from > 0 {
		text.WriteRune('…')
		caret.WriteByte(' ')
	}
	for i := from; i < to; i++ {
		r, under := line[i], ' '
		switch {
		case r == '\t':
			// A tab is kept, so that the caret stands right however wide a tab is shown.
			under = r
		case !unicode.IsPrint(r):
			r = '·'
		}
		text.WriteRune(r)
		if i < at {
			caret.WriteRune(under)
		}
	}
	if to < len(line) {
		text.WriteRune('…')
	}
	return e.Error() + "\n    " + text.String() + "\n    " + caret.String() + "^"
}

// ErrorAt is an error at one byte of a text.
func ErrorAt(text *Text, offset int, message, hint string) *Error {
	at := text.At(offset)
	return &Error{Position: at, Message: message, Hint: hint, Line: text.line(at)}
}

// SortErrors brings errors into the order of the files they stand in.
func SortErrors(errs []*Error) {
	sort.SliceStable(errs, func(i, j int) bool {
		a, b := errs[i].Position, errs[j].Position
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
}

// DidYouMean is a hint that names the candidate nearest to a name, or empty if none is near.
func DidYouMean(name string, candidates []string) string {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// nameLengthMax bounds what distance compares: longer names are no slips of the pen.
const nameLengthMax = 64

// distance is the number of letters to insert, drop, change or swap with their neighbour to get from one
// name to the other.
func distance(from, to string) int {
	if len(from) > nameLengthMax || len(to) > nameLengthMax {
		return nameLengthMax
	}
	before := make([]int, len(to)+1)
	row := make([]int, len(to)+1)
	next := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(from); i++ {
		next[0] = i
		for j := 1; j <= len(to); j++ {
			change := row[j-1]
			if from[i-1] != to[j-1] {
				change++
			}
			next[j] = min(change, row[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(to)]
}
