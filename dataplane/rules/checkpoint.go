package rules

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A checkpoint is what an evaluator knows of its keys, to go on from after a restart or a reload. Numbers are
// little-endian, times on the gateway's clock are wall time:
//
//	"CVRS" │ version │ wall time │ first arrival │ groups │ cohorts │ alerts │ CRC32C of all before it
//
// Rules and memos are named by hashes of all that they say, so what has changed finds no match and begins
// anew. Keys are written as their texts: their hashes are keyed per process, and another worker may own them
// next time.
const (
	checkpointMagic   = 0x53525643 // "CVRS"
	checkpointVersion = 2
	// Before each key and each alert stands entryMark; behind the last of a cohort, and of the alerts,
	// endMark.
	entryMark = 1
	endMark   = 0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of Restore, beside what it says of the place.
var (
	ErrCheckpointCorrupt = errors.New("checkpoint is corrupt")
	ErrCheckpointVersion = errors.New("checkpoint is of another version")
)

// Restored counts what Restore took over.
type Restored struct {
	Alerts  int // pending and firing
	Keys    int // with a past
	Foreign int // alerts and keys that other workers own
	Changed int // alerts and keys of rules that are no longer there as they were
}

// Checkpoint appends what the evaluator knows of the keys it owns. now is CLOCK_MONOTONIC, nanoseconds. It
// takes as long as there are keys; a worker that has points to take uses CheckpointBegin and CheckpointStep.
func (e *Evaluator) Checkpoint(out []byte, now int64) []byte {
	e.CheckpointBegin(out, now)
	for {
		if out, done := e.CheckpointStep(1 << 30); done {
			return out
		}
	}
}

// saving is a checkpoint that is being written.
type saving struct {
	writer
	cohort int    // that is being written; beyond the last: the alerts
	next   int32  // the key or alert to look at next; none: the cohort has not begun
	sum    uint32 // CRC32C of what lies before summed
	summed int
	// without says of which cohorts the keys are left out; nil for none.
	without       []bool
	withoutAlerts bool
}

// CheckpointBegin begins a checkpoint that is appended to out, in place of one that was not finished.
func (e *Evaluator) CheckpointBegin(out []byte, now int64) {
	e.saving = saving{writer: writer{out: out, wall: e.wall}, summed: len(out), next: none}
	w := &e.saving.writer
	w.u32(checkpointMagic)
	w.u32(checkpointVersion)
	w.clock(now)
	w.clock(e.started)
	w.u32(uint32(len(e.groups)))
	for i := range e.groups {
		w.u64(textHash(e.set.groups[i].name))
		e.groups[i].write(w)
	}
	w.u32(uint32(len(e.set.cohorts)))
}

// CheckpointStep looks at up to so many keys and alerts and writes them as they are now; points and time may
// pass between two steps. When it is done it returns the whole checkpoint.
func (e *Evaluator) CheckpointStep(most int) (out []byte, done bool) {
	s := &e.saving
	done = e.saveSome(most)
	// The sum is taken step by step as well: over all at once it would hold up the worker.
	s.sumUp()
	if !done {
		return nil, false
	}
	s.u32(s.sum)
	out = s.out
	*s = saving{}
	return out, true
}

// saveSome writes up to so many keys and alerts; true once all are written.
func (e *Evaluator) saveSome(most int) bool {
	s := &e.saving
	for range most {
		more := false
		switch alerts := s.cohort == len(e.set.cohorts); {
		case s.next == none && !alerts:
			e.writeCohort(&s.writer, s.cohort)
			s.next, more = 0, true
		case s.next == none:
			s.next, more = 0, true
		case alerts:
			more = e.saveAlert(s)
		default:
			more = e.saveKey(s)
		}
		if more {
			continue
		}
		s.u32(endMark)
		s.next = none
		if s.cohort++; s.cohort > len(e.set.cohorts) {
			return true
		}
	}
	return false
}

// sumUp adds what was written since the last time to the sum.
func (s *saving) sumUp() {
	s.sum = crc32.Update(s.sum, castagnoli, s.out[s.summed:])
	s.summed = len(s.out)
}

// saveKey writes the next key of a cohort; false if there is none.
func (e *Evaluator) saveKey(s *saving) bool {
	keys := &e.pasts[s.cohort]
	if s.next >= keys.cut || s.without != nil && s.without[s.cohort] {
		return false
	}
	if key := keys.at(s.next); key.used {
		s.u32(entryMark)
		e.writeKeyState(&s.writer, keys, s.next)
	}
	s.next++
	return true
}

// saveAlert writes the next alert; false if there is none.
func (e *Evaluator) saveAlert(s *saving) bool {
	if s.next >= e.records.cut || s.withoutAlerts {
		return false
	}
	if rec := e.records.at(s.next); rec.used && rec.owned && rec.phase != phaseOK {
		s.u32(entryMark)
		e.writeAlert(&s.writer, rec)
	}
	s.next++
	return true
}

// writeCohort writes what its keys consist of.
func (e *Evaluator) writeCohort(w *writer, number int) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	w.u64(c.identity)
	w.clock(keys.lost)
	w.u32(uint32(len(c.memos)))
	for i := range c.memos {
		w.u64(c.memos[i].identity)
		w.u32(uint32(c.memos[i].words))
	}
	w.u32(uint32(len(c.records)))
	for _, r := range c.records {
		w.u64(e.set.rules[r].hash)
	}
}

func (e *Evaluator) writeKeyState(w *writer, keys *pastKeys, at int32) {
	key := keys.at(at)
	w.text(e.texts.bytes(key.text)[:key.keyBytes])
	w.text(e.texts.bytes(key.text)[key.keyBytes : key.keyBytes+key.valuesBytes])
	w.clock(key.seen)
	w.u64(uint64(key.newest))
	w.u64(uint64(key.from))
	for _, word := range keys.memory(at) {
		w.u64(word)
	}
}

func (e *Evaluator) writeAlert(w *writer, rec *record) {
	w.u64(e.set.rules[rec.rule].hash)
	announced := uint32(0)
	if rec.announced {
		announced = 1
	}
	w.u32(uint32(rec.phase) | uint32(rec.state)<<8 | uint32(rec.reason)<<16 | announced<<24)
	text := []byte{}
	if rec.text != 0 {
		text = e.texts.bytes(rec.text)[:rec.keyBytes+rec.valuesBytes]
	}
	w.text(text[:rec.keyBytes])
	w.text(text[rec.keyBytes:])
	for _, t := range []int64{rec.begun, rec.since, rec.changed, rec.eventTime} {
		w.u64(uint64(t))
	}
	for _, t := range []int64{rec.due, rec.changeArrival, rec.stateArrival, rec.seen} {
		w.clock(t)
	}
}

// writer appends the parts of a checkpoint.
type writer struct {
	out  []byte
	wall int64
}

func (w *writer) u32(v uint32) { w.out = binary.LittleEndian.AppendUint32(w.out, v) }
func (w *writer) u64(v uint64) { w.out = binary.LittleEndian.AppendUint64(w.out, v) }

// clock writes a time of CLOCK_MONOTONIC as wall time.
func (w *writer) clock(t int64) {
	if t != never {
		t += w.wall
	}
	w.u64(uint64(t))
}

func (w *writer) text(t []byte) {
	w.u32(uint32(len(t)))
	w.out = append(w.out, t...)
}

// reader takes the parts of a checkpoint. Once something is missing it has failed, and gives zeros.
type reader struct {
	in     []byte
	wall   int64
	failed bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.in) || r.failed {
		r.failed = true
		return nil
	}
	part := r.in[:n]
	r.in = r.in[n:]
	return part
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) clock() int64 {
	t := int64(r.u64())
	if t != never {
		t -= r.wall
	}
	return t
}

func (r *reader) text() []byte { return r.take(int(min(r.u32(), 2*TextMax))) }

// more tells whether there is another key or alert.
func (r *reader) more() bool { return r.u32() == entryMark && !r.failed }
