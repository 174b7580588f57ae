package rules

import (
	"sort"
	"unicode/utf8"
)

// Position is a place in a file. Line and Column count from 1, columns in characters.
type Position struct {
	File         string
	Line, Column int
}

// Document is a file as it was read, so that errors can quote it.
type Document struct {
	Name  string
	Lines []string
}

// Mark says that the text from Offset on stands in the file from Line and Column on.
type Mark struct {
	Offset       int
	Line, Column int
}

// Text is a piece of a rule file: what it says, and where. Marks (optional) tell the places of the parts of a
// text that does not stand in one line as it is; Document (optional) gives the lines that errors quote.
type Text struct {
	Source   string
	Position Position
	Marks    []Mark
	Document *Document
}

// At is the place of one byte of the text.
func (t *Text) At(offset int) Position {
	offset = min(max(offset, 0), len(t.Source))
	at, from := t.Position, 0
	i := sort.Search(len(t.Marks), func(i int) bool { return t.Marks[i].Offset > offset })
	if i > 0 {
		mark := t.Marks[i-1]
		at.Line, at.Column, from = mark.Line, mark.Column, min(mark.Offset, offset)
	}
	at.Column += utf8.RuneCountInString(t.Source[from:offset])
	return at
}

// line is the file's line at a position, or the text itself where the file is not known.
func (t *Text) line(at Position) string {
	if t.Document != nil && at.Line >= 1 && at.Line <= len(t.Document.Lines) {
		return t.Document.Lines[at.Line-1]
	}
	return ""
}

// Pair is a name and a value, as in labels and annotations.
type Pair struct {
	Name, Value Text
}

// Group is rules that stand together in a file.
type Group struct {
	Name        Text
	LatenessMin Text // (optional) a duration
	Affinity    Text // (optional) "sender": all points of a key come to one worker
	Rules       []Rule
}

// Kind is what a rule is for.
type Kind uint8

// The kinds of rules.
const (
	KindAlert  Kind = iota
	KindRecord      // derives points
	KindKeep        // a filter that lets points go on
	KindDrop        // a filter that drops points
)

var kindNames = [...]string{"alert", "record", "keep", "drop"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Rule is one rule as it is written. HasBy tells `by: []`, one state for all points, from no `by` at all,
// one state per series. A text that is not there is empty.
type Rule struct {
	Kind        Kind
	Alert       Text // the name of an alert
	Record      Text // the measurement of a record
	On          []Text
	Expr        Text
	By          []Text
	HasBy       bool
	For         Text // durations, as the next two
	KeepFor     Text
	Stale       Text
	Absent      Text // instead of Expr: how long a key has no point before the alert fires
	Clear       Text // the condition that ends the alert
	Every       Text // how often a record is made
	Fields      []Pair
	Labels      []Pair
	Annotations []Pair
	Actions     []Text
}
