package lineproto

import (
	"hash/maphash"

	"culvert/dataplane/point"
)

// fewNames is how many names are searched one by one; beyond, the table is used, so that the cost of a line
// grows with its length alone, whatever its sender intends.
const fewNames = 16

// repeatsTag tells whether a name in the payload is that of a tag that the point has, or that it has too many
// to search here.
func repeatsTag(p *point.Point, span point.Span) bool {
	name := p.Bytes(span)
	if len(p.Tags) > fewNames {
		return true
	}
	for _, tag := range p.Tags {
		if tag.Name.Length() == len(name) && string(p.Bytes(tag.Name)) == string(name) {
			return true
		}
	}
	return false
}

// repeatsField is repeatsTag for fields.
func repeatsField(p *point.Point, span point.Span) bool {
	name := p.Bytes(span)
	if len(p.Fields) > fewNames {
		return true
	}
	for i := range p.Fields {
		if other := p.Fields[i].Name; other.Length() == len(name) && string(p.Bytes(other)) == string(name) {
			return true
		}
	}
	return false
}

// findTag tells whether a tag of this name is among tags.
func (d *Decoder) findTag(p *point.Point, tags []point.Tag, name point.Span) bool {
	text := p.Bytes(name)
	if len(tags) <= fewNames {
		for i := range tags {
			if tags[i].Name.Length() == name.Length() && string(p.Bytes(tags[i].Name)) == string(text) {
				return true
			}
		}
		return false
	}
	d.names.begin(d.start, tagNames)
	for d.names.count < len(tags) {
		d.names.add(p, tags[d.names.count].Name)
	}
	return d.names.find(p, text) >= 0
}

// replaceField gives the field of the same name this one's value, if there is one.
func (d *Decoder) replaceField(p *point.Point, field *point.Field) bool {
	at, text := -1, p.Bytes(field.Name)
	if len(p.Fields) <= fewNames {
		for i := range p.Fields {
			name := p.Fields[i].Name
			if name.Length() == field.Name.Length() && string(p.Bytes(name)) == string(text) {
				at = i
				break
			}
		}
	} else {
		d.names.begin(d.start, fieldNames)
		for d.names.count < len(p.Fields) {
			d.names.add(p, p.Fields[d.names.count].Name)
		}
		at = d.names.find(p, text)
	}
	if at < 0 {
		return false
	}
	name := p.Fields[at].Name
	// Whether others are unsigned is looked for once, at the end of the line: many repeated fields must not
	// search the same fields again and again.
	d.uintLost = d.uintLost || p.Fields[at].Kind == point.Uint
	p.HasUint = p.HasUint || field.Kind == point.Uint
	p.Fields[at] = *field
	p.Fields[at].Name = name
	return true
}

// nameTable finds names among many: open addressing, with a seeded hash so that no sender can choose
// names that collide. Entries of earlier lines are told apart by their generation, so that nothing is
// cleared.
type nameTable struct {
	entries    []nameEntry
	seed       maphash.Seed
	generation uint32
	line       int // of the names it holds, by its start
	kind       nameKind
	count      int // how many names it holds
}

type nameEntry struct {
	name       point.Span
	generation uint32
	index      uint32
}

type nameKind uint8

const (
	noNames nameKind = iota
	tagNames
	fieldNames
)

// nameEntries keeps the table at most half full.
const nameEntries = 2 * FieldsMax

// begin empties the table unless it holds names of this kind from this line. The first wide point makes it.
func (t *nameTable) begin(line int, kind nameKind) {
	if t.kind == kind && t.line == line {
		return
	}
	if t.entries == nil {
		t.entries, t.seed = make([]nameEntry, nameEntries), maphash.MakeSeed()
	}
	t.line, t.kind, t.count = line, kind, 0
	if t.generation++; t.generation == 0 {
		clear(t.entries)
		t.generation = 1
	}
}

// slot is where a name is, or the empty place where it would be.
func (t *nameTable) slot(p *point.Point, text []byte) *nameEntry {
	for i := maphash.Bytes(t.seed, text); ; i++ {
		entry := &t.entries[i&(nameEntries-1)]
		if entry.generation != t.generation || string(p.Bytes(entry.name)) == string(text) {
			return entry
		}
	}
}

// add takes a name that is not in the table.
func (t *nameTable) add(p *point.Point, name point.Span) {
	*t.slot(p, p.Bytes(name)) = nameEntry{name: name, generation: t.generation, index: uint32(t.count)}
	t.count++
}

// find is the index of a name, or -1.
func (t *nameTable) find(p *point.Point, text []byte) int {
	if entry := t.slot(p, text); entry.generation == t.generation {
		return int(entry.index)
	}
	return -1
}
