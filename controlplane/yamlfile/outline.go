package yamlfile

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

const (
	// depthMax bounds lists and mappings within each other; ours are eight deep at most.
	depthMax = 64
	// keyMax is YAML's own bound of a key without a question mark before it, in characters; here of bytes.
	keyMax = 1024
	// keysMax bounds the keys of one mapping: the parser calls itself for each that is written on a line of
	// its own.
	keysMax = 1000
	// emptyMax bounds keys and list entries without a value: the parser moves all that follows for each.
	emptyMax = 1000
	// namesMax bounds anchors, aliases and tags.
	namesMax = 256
	// documentsMax bounds the marks between documents; a file is one.
	documentsMax = 16
	// pathsMax bounds the paths of all values together, in bytes, and indexBytes is a list's share of one.
	pathsMax   = 256 << 20
	indexBytes = 10
)

// level is a list or a mapping that is open.
type level struct {
	kind   token.Type // of the token that makes it: - or ? or : of blocks, [ or { of flows
	column int        // in which its entries begin; of a flow, where its bracket stands
	keys   int        // of a mapping
	fresh  int        // keys since the last comma in braces
	before int        // bytes of the path to it
	path   int        // bytes of the path to its entry at hand
}

func (l *level) isFlow() bool {
	return l.kind == token.SequenceStartType || l.kind == token.MappingStartType
}

// outline follows what tokens open and close, by brackets and by columns, as the parser will.
type outline struct {
	levels           []level
	last             *token.Token // before the one at hand; nil at first
	entry            int          // the column of the entry that last opened; of a key, its own
	documents, names int
	empty, paths     int
}

// take takes the next token that is no comment.
func (o *outline) take(t *token.Token) (e *Excess) {
	if o.isEmpty(t) {
		if o.empty++; o.empty > emptyMax {
			return excess(o.last, "give them one, or remove them",
				"more than %d keys and list entries without a value", emptyMax)
		}
	}
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		e = o.open(t, t.Type, t.Position.Column, 0)
	case token.SequenceEndType, token.MappingEndType:
		o.close()
	case token.CollectEntryType:
		o.comma()
	case token.SequenceEntryType, token.MappingKeyType:
		e = o.item(t)
	case token.MappingValueType:
		e = o.key(t)
	case token.DocumentHeaderType, token.DocumentEndType:
		o.levels = o.levels[:0]
		if o.documents++; o.documents > documentsMax {
			e = excess(t, "a file is one", "more than %d documents", documentsMax)
		}
	case token.AnchorType, token.AliasType, token.TagType:
		if o.names++; o.names > namesMax {
			e = excess(t, "write the values out", "more than %d anchors, aliases and tags", namesMax)
		}
	}
	if e == nil && o.paths > pathsMax {
		e = excess(t, "shorten the keys around it", "too many values below long keys")
	}
	o.last = t
	return e
}

func excess(t *token.Token, remedy, format string, arguments ...any) *Excess {
	return &Excess{t.Position.Line, max(t.Position.Column, 1), fmt.Sprintf(format, arguments...), remedy}
}

// top is the innermost level, or nil.
func (o *outline) top() *level {
	if len(o.levels) == 0 {
		return nil
	}
	return &o.levels[len(o.levels)-1]
}

// isEmpty tells whether the token shows that the entry before it has no value.
func (o *outline) isEmpty(t *token.Token) bool {
	if o.last == nil {
		return false
	}
	ends := t.Type == token.CollectEntryType || t.Type == token.MappingEndType
	below := t.Position.Line > o.last.Position.Line
	switch o.last.Type {
	case token.SequenceEntryType:
		return below && t.Position.Column <= o.entry
	case token.MappingValueType:
		return ends || below && (t.Position.Column < o.entry ||
			t.Position.Column == o.entry && t.Type != token.SequenceEntryType)
	case token.CollectEntryType, token.MappingStartType:
		return false
	}
	top := o.top()
	return ends && top != nil && top.kind == token.MappingStartType && top.fresh == 0
}

// open adds a level.
func (o *outline) open(t *token.Token, kind token.Type, column, step int) *Excess {
	if len(o.levels) == depthMax {
		return excess(t, "nothing here needs more than ten",
			"lists and mappings stand more than %d deep in each other", depthMax)
	}
	l := level{kind: kind, column: column}
	if kind == token.MappingValueType {
		l.keys = 1
	}
	if top := o.top(); top != nil {
		l.before = top.path
	}
	l.path = l.before + step
	o.levels = append(o.levels, l)
	o.paths += l.path
	return nil
}

// unwind leaves the levels of blocks that end before an entry of a kind in a column.
func (o *outline) unwind(kind token.Type, column int) {
	for top := o.top(); top != nil && !top.isFlow(); top = o.top() {
		// A list may stand in the column of the key that it belongs to.
		inside := kind == token.SequenceEntryType && top.kind != kind
		if top.column < column || top.column == column && (top.kind == kind || inside) {
			return
		}
		o.levels = o.levels[:len(o.levels)-1]
	}
}

// close leaves the innermost flow, with the blocks in it. A bracket that closes nothing is the parser's
// business.
func (o *outline) close() {
	for at := len(o.levels) - 1; at >= 0; at-- {
		if o.levels[at].isFlow() {
			o.levels = o.levels[:at]
			return
		}
	}
}

// comma is between the entries of a flow: blocks in the last one end.
func (o *outline) comma() {
	for top := o.top(); top != nil && !top.isFlow(); top = o.top() {
		o.levels = o.levels[:len(o.levels)-1]
	}
	if top := o.top(); top != nil {
		top.fresh = 0
		top.path = top.before + indexBytes
		o.paths += top.path
	}
}

// item is an entry of a list of blocks, or a key behind a question mark.
func (o *outline) item(t *token.Token) *Excess {
	column := t.Position.Column
	o.entry = column
	o.unwind(t.Type, column)
	if top := o.top(); top != nil && top.kind == t.Type && top.column == column {
		o.paths += top.path
		return nil
	}
	return o.open(t, t.Type, column, indexBytes)
}

// key is a colon behind a key.
func (o *outline) key(t *token.Token) *Excess {
	if o.last == nil {
		return nil
	}
	column, length := o.last.Position.Column, len(o.last.Value)
	o.entry = column
	if length > keyMax {
		return excess(o.last, "long texts go behind a colon", "a key of %d bytes, more than %d", length,
			keyMax)
	}
	o.unwind(token.MappingValueType, column)
	top := o.top()
	same := top != nil && top.kind == token.MappingValueType && top.column == column
	if !same && (top == nil || top.kind != token.MappingStartType) {
		return o.open(o.last, token.MappingValueType, column, length+1)
	}
	top.keys, top.fresh = top.keys+1, top.fresh+1
	top.path = top.before + length + 1
	o.paths += top.path
	if top.keys > keysMax {
		return excess(o.last, "split it", "a mapping of more than %d keys", keysMax)
	}
	return nil
}
