package config

import (
	"fmt"
	"strings"
)

// Position is a place in a file; line and column count from 1, columns in characters.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is one thing that is wrong in a file.
type Error struct {
	Position Position
	Key      string // the path of the key, such as sinks[0].batch.bytes; empty for the file as a whole
	Message  string // what is wrong and what would mend it
	Source   string // the line it stands on; empty if there is none
}

// Error is one line: where, which key, what.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", e.Position, e.Message)
	}
	return fmt.Sprintf("%s: %s: %s", e.Position, e.Key, e.Message)
}

// Detail is Error with the source line below and a caret under the place.
func (e *Error) Detail() string {
	if e.Source == "" {
		return e.Error()
	}
	number := fmt.Sprint(e.Position.Line)
	// Tabs are kept in front of the caret, so that it stands right whatever their width.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string([]rune(e.Source)[:min(e.Position.Column-1, len([]rune(e.Source)))]))
	return fmt.Sprintf("%s\n  %s | %s\n  %s | %s^", e.Error(), number, e.Source,
		strings.Repeat(" ", len(number)), indent)
}

// nearest is the name that was probably meant, or "" if none is near. Half of a name's letters may not be
// wrong, and never more than three.
func nearest(name string, known []string) string {
	best, bound := "", min(3, len(name)/2)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < bound {
			best, bound = k, d
		}
	}
	return best
}

// distance counts the letters to add, remove, change or swap with the next one that turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
