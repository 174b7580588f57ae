package lineproto

import "culvert/dataplane/point"

// Whole finds the line in the payload that Append would write byte for byte, its LF included. It is false
// where the two differ, and for a last line without LF. The point is as it was decoded: nothing was added.
func (e *Encoder) Whole(p *point.Point) (from, to int, ok bool) {
	to = p.Stamp.End() + 1
	if p.Stamp == 0 || len(e.Tags) > 0 || !e.copiesFields(p) || to > len(p.PayloadBytes) ||
		p.Key.End()+1 != p.FieldSet.Offset() || p.FieldSet.End()+1 != p.Stamp.Offset() ||
		p.PayloadBytes[to-1] != '\n' {
		return 0, 0, false
	}
	return p.Key.Offset(), to, true
}
