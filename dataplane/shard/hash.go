package shard

import (
	"bytes"

	"github.com/zeebo/xxh3"

	"culvert/dataplane/point"
)

// tagsMax is how many tags the order of which has room on the stack; points with more are rare, and cost an
// allocation.
const tagsMax = 64

// Hash is the same for all points of a series: it is the hash of measurement,name=value,… with the tags in
// the order of their names, free of escapes. Most senders write just that, and it is hashed where it stands;
// else it is written into the free end of the scratch arena, which is as before afterwards.
func Hash(p *point.Point) uint64 {
	if inOrder(p) {
		return xxh3.Hash(p.PayloadBytes[p.Key.Offset():p.Key.End()])
	}
	n := len(p.ScratchBytes)
	text := appendSeries(p.ScratchBytes, p)
	p.ScratchBytes = text[:n]
	return xxh3.Hash(text[n:])
}

// inOrder tells whether the key stands in the payload as it is hashed: nothing in it had escapes, nothing was
// added to it, and the tags are in order.
func inOrder(p *point.Point) bool {
	spans, end := p.Measurement, p.Measurement.End()
	payload := p.PayloadBytes
	var before []byte
	for i := range p.Tags {
		t := &p.Tags[i]
		spans |= t.Name | t.Value
		from, to := t.Name.Offset(), t.Name.End()
		end = t.Value.End()
		if from >= to || to > len(payload) {
			return false
		}
		name := payload[from:to]
		// Most names differ in their first byte.
		if len(before) > 0 && name[0] <= before[0] &&
			(name[0] < before[0] || bytes.Compare(name, before) <= 0) {
			return false
		}
		before = name
	}
	return spans.Arena() == point.Payload && p.Key.Length() > 0 && end == p.Key.End()
}

// appendSeries writes measurement and tags as they are hashed.
func appendSeries(dst []byte, p *point.Point) []byte {
	var room [tagsMax]int
	order := room[:0]
	for i := range p.Tags {
		order = append(order, i)
		name := p.Bytes(p.Tags[i].Name)
		for at := i; at > 0 && bytes.Compare(name, p.Bytes(p.Tags[order[at-1]].Name)) < 0; at-- {
			order[at], order[at-1] = order[at-1], i
		}
	}
	dst = append(dst, p.Bytes(p.Measurement)...)
	for _, i := range order {
		dst = append(dst, ',')
		dst = append(dst, p.Bytes(p.Tags[i].Name)...)
		dst = append(dst, '=')
		dst = append(dst, p.Bytes(p.Tags[i].Value)...)
	}
	return dst
}
