package rules

import "unsafe"

// Memory shows the memory that states lie in, piece by piece: keys, their pasts and their texts, the tables
// that find them, timers, what waits for other workers. It is to look where it lies, not to be changed, and
// is called on the evaluator's thread; a piece stays what it was as long as somebody holds it.
func (e *Evaluator) Memory(show func(memory []byte)) {
	if e.recents.sets != nil {
		show(bytesOf(e.recents.sets[:]))
	}
	for _, chunk := range e.records.chunks {
		show(bytesOf(chunk[:]))
	}
	e.records.numbers.show(show)
	for i := range e.pasts {
		p := &e.pasts[i]
		for _, chunk := range p.chunks {
			show(bytesOf(chunk[:]))
		}
		for _, chunk := range p.words {
			show(bytesOf(chunk))
		}
		p.numbers.show(show)
	}
	for i := range e.texts.classes {
		for _, chunk := range e.texts.classes[i].chunks {
			show(chunk)
		}
	}
	for _, w := range []*wheel{&e.timers, &e.keyTimers.wheel} {
		for _, chunk := range w.timers {
			show(bytesOf(chunk[:]))
		}
	}
	for i := range e.outboxes {
		show(bytesOf(e.outboxes[i].slots))
	}
	show(bytesOf(e.transitions.slots))
}

// bytesOf is the same memory as bytes.
func bytesOf[T any](values []T) []byte {
	var one T
	size := len(values) * int(unsafe.Sizeof(one))
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), size)
}
