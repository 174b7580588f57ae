package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	checkpointVersion = 1
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

// Checkpoint appends what the evaluator knows of the keys it owns. now is CLOCK_MONOTONIC, nanoseconds.
func (e *Evaluator) Checkpoint(out []byte, now int64) []byte {
	start := len(out)
	w := writer{out: out, wall: e.wall}
	w.u32(checkpointMagic)
	w.u32(checkpointVersion)
	w.clock(now)
	w.clock(e.started)
	w.u32(uint32(len(e.groups)))
	for i := range e.groups {
		w.u64(textHash(e.set.groups[i].name))
		e.groups[i].write(&w)
	}
	w.u32(uint32(len(e.set.cohorts)))
	for i := range e.set.cohorts {
		e.writeCohort(&w, i)
	}
	at := len(w.out)
	w.u32(0)
	count := uint32(0)
	for i := range e.records.cut {
		if rec := e.records.at(i); rec.used && rec.owned && rec.phase != phaseOK {
			e.writeAlert(&w, rec)
			count++
		}
	}
	binary.LittleEndian.PutUint32(w.out[at:], count)
	w.u32(crc32.Checksum(w.out[start:], castagnoli))
	return w.out
}

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
	w.u32(uint32(keys.list.length))
	for i := range keys.cut {
		key := keys.at(i)
		if !key.used {
			continue
		}
		w.text(e.texts.bytes(key.text)[:key.keyBytes])
		w.text(e.texts.bytes(key.text)[key.keyBytes : key.keyBytes+key.valuesBytes])
		w.clock(key.seen)
		w.u64(uint64(key.newest))
		w.u64(uint64(key.from))
		for _, word := range keys.memory(i) {
			w.u64(word)
		}
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

// Restore takes over what checkpoints say of keys that this evaluator owns and of rules that are unchanged.
// It is called once, before the first point and after SetWall. hot says that no point was missed since, as
// in a reload; otherwise alerts count as seen now, so that they end by their points or go stale from here on,
// and windows that reach back across the gap are marked. A checkpoint that is corrupt is refused whole.
func (e *Evaluator) Restore(data []byte, now int64, hot bool) (Restored, error) {
	var done Restored
	if len(data) < 4 {
		return done, fmt.Errorf("restore rules: %d bytes: %w", len(data), ErrCheckpointCorrupt)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return done, fmt.Errorf("restore rules: checksum: %w", ErrCheckpointCorrupt)
	}
	r := reader{in: body, wall: e.wall}
	if r.u32() != checkpointMagic {
		return done, fmt.Errorf("restore rules: magic number: %w", ErrCheckpointCorrupt)
	}
	if v := r.u32(); v != checkpointVersion {
		return done, fmt.Errorf("restore rules: version %d, want %d: %w", v, checkpointVersion,
			ErrCheckpointVersion)
	}
	r.clock()
	if started := r.clock(); hot && started != never {
		e.started = started
	}
	e.readGroups(&r)
	for range r.u32() {
		if r.failed {
			break
		}
		e.readCohort(&r, now, hot, &done)
	}
	for range r.u32() {
		if r.failed {
			break
		}
		e.readAlert(&r, now, hot, &done)
	}
	if r.failed || len(r.in) > 0 {
		return done, fmt.Errorf("restore rules: length: %w", ErrCheckpointCorrupt)
	}
	return done, nil
}

// readGroups takes over how late points were, group by group.
func (e *Evaluator) readGroups(r *reader) {
	for range r.u32() {
		if r.failed {
			return
		}
		var l lateness
		name := r.u64()
		l.read(r)
		for i := range e.set.groups {
			if textHash(e.set.groups[i].name) == name && !e.groups[i].known {
				l.minimum = e.groups[i].minimum
				e.groups[i] = l
			}
		}
	}
}

// write appends what is known of how late points are.
func (l *lateness) write(w *writer) {
	w.u64(uint64(l.ahead - w.wall))
	known := uint32(0)
	if l.known {
		known = 1
	}
	w.u32(known)
	w.u32(l.uncounts)
	for _, n := range l.counts {
		w.u32(n)
	}
	for _, late := range []int64{l.early, l.onTime, l.final} {
		w.u64(uint64(late))
	}
}

func (l *lateness) read(r *reader) {
	l.ahead = int64(r.u64()) + r.wall
	l.known = r.u32() != 0
	l.uncounts = r.u32()
	for i := range l.counts {
		l.counts[i] = min(r.u32(), latenessFull)
		l.total += l.counts[i]
	}
	for _, late := range []*int64{&l.early, &l.onTime, &l.final} {
		*late = int64(r.u64() & (1<<62 - 1))
	}
}

// moved says where the words of a part of a key lie in a checkpoint and here; here is -1 for what is gone.
type moved struct{ there, here, words int }

func (e *Evaluator) readCohort(r *reader, now int64, hot bool, done *Restored) {
	identity, lost := r.u64(), r.clock()
	number := -1
	for i := range e.set.cohorts {
		if e.set.cohorts[i].identity == identity {
			number = i
			e.pasts[i].lost = max(e.pasts[i].lost, lost)
		}
	}
	var parts []moved
	stride := 0
	add := func(words int, find func(c *cohort) int) {
		m := moved{there: stride, here: -1, words: words}
		if number >= 0 {
			m.here = find(&e.set.cohorts[number])
		}
		parts = append(parts, m)
		stride += words
	}
	for range min(r.u32(), memosMax+1) {
		memo, words := r.u64(), int(r.u32())
		add(words, func(c *cohort) int {
			for i := range c.memos {
				if c.memos[i].identity == memo && c.memos[i].words == words {
					return c.memos[i].at
				}
			}
			return -1
		})
	}
	for range min(r.u32(), rulesMax) {
		hash := r.u64()
		add(recordWords, func(c *cohort) int {
			for i, rule := range c.records {
				if e.set.rules[rule].hash == hash {
					return c.recordsAt + i*recordWords
				}
			}
			return -1
		})
	}
	if stride > keyWordsMax+rulesMax*recordWords {
		r.failed = true
	}
	for range r.u32() {
		if r.failed {
			return
		}
		e.readKey(r, number, parts, stride, now, hot, done)
	}
}

func (e *Evaluator) readKey(r *reader, number int, parts []moved, stride int, now int64, hot bool,
	done *Restored) {
	text, values := r.text(), r.text()
	seen, newest, from := r.clock(), int64(r.u64()), int64(r.u64())
	words := r.take(8 * stride)
	if r.failed {
		return
	}
	if number < 0 {
		done.Changed++
		return
	}
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	hash, check, ok := e.keyOf(c.shape, text)
	switch {
	case !ok || len(text)+len(values) > TextMax:
		r.failed = true
		return
	case !e.set.shapes[c.shape].local && e.ownerOf(hash) != e.config.Worker:
		done.Foreign++
		return
	case keys.list.length >= e.ownMax || keys.find(hash, check) != none:
		return
	}
	at := keys.add(hash, check)
	key := keys.at(at)
	key.text = e.texts.take(len(text) + len(values))
	copy(e.texts.bytes(key.text)[copy(e.texts.bytes(key.text), text):], values)
	key.keyBytes, key.valuesBytes = uint16(len(text)), uint16(len(values))
	key.seen, key.newest, key.from, key.hole = seen, newest, from, never
	if !hot {
		key.hole = newest + max(now-seen, 0)
	}
	memory := keys.memory(at)
	for _, p := range parts {
		for i := 0; p.here >= 0 && i < p.words; i++ {
			memory[p.here+i] = binary.LittleEndian.Uint64(words[8*(p.there+i):])
		}
	}
	for i := range c.memos {
		// A window that the checkpoint does not know, or of which it says nonsense although its sum is right,
		// begins now, in the key's own time.
		m := &c.memos[i]
		if m.kind == memoWindow && !m.window.plausible(memory[m.at:]) {
			clear(memory[m.at : m.at+m.words])
		}
		if m.kind == memoWindow && memory[m.at+windowState]&stateStarted == 0 {
			memory[m.at+windowFrom] = uint64(newest + max(now-seen, 0))
		}
	}
	e.wakeKey(number, at, now, hot)
	done.Keys++
}

// wakeKey sets the timers of a key that was restored. A silent key is looked at when its time has come, or in
// a while after a gap, so that points that come now can prevent an alert.
func (e *Evaluator) wakeKey(number int, at int32, now int64, hot bool) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	key := keys.at(at)
	if len(c.absent) > 0 {
		if !hot {
			key.seen = max(key.seen, now)
		}
		key.silent = true // its alerts, if there are any, are restored behind the keys
		e.keyTimers.set(uint16(number), at, key, key.seen+e.set.rules[c.absent[0]].times.absent)
	}
	if len(c.records) > 0 {
		e.keyTimers.set(uint16(number), at, key, now)
	}
}

func (e *Evaluator) readAlert(r *reader, now int64, hot bool, done *Restored) {
	hash, flags := r.u64(), r.u32()
	text, values := r.text(), r.text()
	var times, clocks [4]int64
	for i := range times {
		times[i] = int64(r.u64())
	}
	for i := range clocks {
		clocks[i] = r.clock()
	}
	if r.failed || len(text)+len(values) > TextMax || flags&0xff > uint32(phaseKeeping) {
		r.failed = true
		return
	}
	number := -1
	for i := range e.set.rules {
		if e.set.rules[i].hash == hash {
			number = i
		}
	}
	if number < 0 {
		done.Changed++
		return
	}
	rule := &e.set.rules[number]
	keyHash, check, ok := e.keyOf(rule.shape, text)
	switch {
	case !ok:
		r.failed = true
		return
	case !rule.local && e.ownerOf(keyHash) != e.config.Worker:
		done.Foreign++
		return
	case e.records.find(uint32(number), keyHash, check) != none:
		return
	}
	at := e.take(uint32(number), keyHash, check, true)
	if at == none {
		return
	}
	rec := e.records.at(at)
	var both [TextMax]byte
	n := copy(both[:], text)
	e.keep(rec, both[:n+copy(both[n:], values)], n)
	rec.begun, rec.since, rec.changed, rec.eventTime = times[0], times[1], times[2], times[3]
	rec.due, rec.changeArrival, rec.stateArrival, rec.seen = clocks[0], clocks[1], clocks[2], clocks[3]
	rec.state, rec.reason = verdict(flags>>8&3), Reason(flags>>16)
	e.enter(at, phase(flags))
	e.stats[number].Transitions = 0
	rec.announced = flags>>24 != 0
	if !hot {
		rec.seen = max(rec.seen, now)
	}
	e.wakeAlert(at)
	done.Alerts++
}

// wakeAlert sets the timer of an alert that was restored, and tells the other workers of it.
func (e *Evaluator) wakeAlert(at int32) {
	rec := e.records.at(at)
	switch rec.phase {
	case phasePending:
		e.timers.set(at, min(rec.due, e.staleAt(rec)))
	case phaseFiring:
		if e.set.rules[rec.rule].times.absent == 0 {
			e.timers.set(at, e.staleAt(rec))
		}
	case phaseKeeping:
		e.timers.set(at, rec.due)
	}
	e.records.enqueue(at, dirtyState|dirtyAnnounce)
}

// keyOf works out the hash of a key from its text, as key does from a point.
func (e *Evaluator) keyOf(shape uint16, text []byte) (hash, check uint64, ok bool) {
	sh := &e.set.shapes[shape]
	length, rest := len(text), text
	next := func() []byte {
		if len(rest) < 2 || len(rest) < 2+int(binary.LittleEndian.Uint16(rest)) {
			ok = false
			return nil
		}
		n := 2 + int(binary.LittleEndian.Uint16(rest))
		word := rest[2:n]
		rest = rest[n:]
		return word
	}
	ok = true
	hash, check = e.seeds.sum(next())
	if sh.series {
		var sumHash, sumCheck uint64
		for len(rest) > 0 && ok {
			nh, nc := e.seeds.sum(next())
			vh, vc := e.seeds.sum(next())
			h, c := e.seeds.chain(nh, nc, vh, vc)
			sumHash, sumCheck = sumHash+h, sumCheck+c
		}
		hash, check = e.seeds.chain(hash, check, sumHash, sumCheck)
	} else {
		for range sh.slots {
			h, c := e.seeds.sum(next())
			hash, check = e.seeds.chain(hash, check, h, c)
		}
	}
	hash, check = e.seeds.chain(hash, check, uint64(shape), uint64(length))
	return hash, check, ok && len(rest) == 0 && length <= KeyMax
}

// Changes is what a reload changes: the names of rules, with their groups.
type Changes struct {
	Added, Changed, Removed, Kept []string
}

// Compare tells how this Set differs from an older one. A rule is kept, with its state, if nothing of it
// and of its group's settings has changed; it is the same rule if group, kind and name are.
func (s *Set) Compare(old *Set) Changes {
	var c Changes
	title := func(r *rule) string { return r.group + "/" + r.kind.String() + "/" + r.name }
	count := map[uint64]int{}
	before := map[string]int{}
	for i := range old.rules {
		count[old.rules[i].hash]++
	}
	var unmatched []string
	for i := range s.rules {
		r := &s.rules[i]
		if count[r.hash] > 0 {
			count[r.hash]--
			c.Kept = append(c.Kept, title(r))
			continue
		}
		unmatched = append(unmatched, title(r))
	}
	for i := range old.rules {
		if r := &old.rules[i]; count[r.hash] > 0 {
			count[r.hash]--
			before[title(r)]++
		}
	}
	for _, name := range unmatched {
		if before[name] > 0 {
			before[name]--
			c.Changed = append(c.Changed, name)
		} else {
			c.Added = append(c.Added, name)
		}
	}
	for i := range old.rules {
		if name := title(&old.rules[i]); before[name] > 0 {
			before[name]--
			c.Removed = append(c.Removed, name)
		}
	}
	return c
}

// Retire ends the firing alerts of rules that a new Set does not have as they are: nobody would end them
// later. It returns false while there is more to tell than there is room for: then the Transitions are to be
// taken and Retire called again. They are the old Set's, which renders them.
func (e *Evaluator) Retire(next *Set) bool {
	kept := map[uint64]bool{}
	for i := range next.rules {
		kept[next.rules[i].hash] = true
	}
	for i := range e.records.cut {
		rec := e.records.at(i)
		if !rec.used || !rec.owned || !rec.announced || kept[e.set.rules[rec.rule].hash] {
			continue
		}
		if !e.transitions.room() {
			return false
		}
		rec.state, rec.reason = verdictNo, ReasonReloaded
		rec.changed, rec.changeArrival = rec.eventTime, rec.stateArrival
		e.enter(i, phaseOK)
		e.announce(i)
		e.settle(i)
	}
	return true
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
