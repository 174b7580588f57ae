package rules

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// VerifyCheckpoint tells whether data is a whole checkpoint of this version.
func VerifyCheckpoint(data []byte) error {
	_, err := openCheckpoint(data)
	return err
}

// openCheckpoint checks a checkpoint's sum and version and returns what lies between.
func openCheckpoint(data []byte) ([]byte, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("restore rules: %d bytes: %w", len(data), ErrCheckpointCorrupt)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("restore rules: checksum: %w", ErrCheckpointCorrupt)
	}
	r := reader{in: body}
	if r.u32() != checkpointMagic {
		return nil, fmt.Errorf("restore rules: magic number: %w", ErrCheckpointCorrupt)
	}
	if v := r.u32(); v != checkpointVersion {
		return nil, fmt.Errorf("restore rules: version %d, want %d: %w", v, checkpointVersion,
			ErrCheckpointVersion)
	}
	return r.in, nil
}

// Restore takes over what checkpoints say of keys that this evaluator owns and of rules that are
// unchanged. It is called once, before the first point and after SetWall. hot says that no point was
// missed since, as in a reload. Otherwise alerts count as seen now, so that they end by their points or
// go stale from here on; those that are firing are told again, with ReasonRestored, for receivers that
// forget what is not repeated; and records of windows that reach back across the gap are marked. A
// checkpoint that is corrupt is refused whole.
func (e *Evaluator) Restore(data []byte, now int64, hot bool) (Restored, error) {
	var done Restored
	body, err := openCheckpoint(data)
	if err != nil {
		return done, err
	}
	r := reader{in: body, wall: e.wall}
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
	var numbers map[uint64]int
	for r.more() {
		if numbers == nil {
			numbers = make(map[uint64]int, len(e.set.rules))
			for i := range e.set.rules {
				numbers[e.set.rules[i].hash] = i
			}
		}
		e.readAlert(&r, numbers, now, hot, &done)
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
	for r.more() {
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

// readAlert takes over an alert; numbers are the rules' by their hashes.
func (e *Evaluator) readAlert(r *reader, numbers map[uint64]int, now int64, hot bool, done *Restored) {
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
	number, ok := numbers[hash]
	if !ok {
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
		if rec.phase.fires() {
			rec.announced, rec.reason = false, ReasonRestored
			rec.changeArrival = now
		}
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
	hash, check = e.seeds.chain(hash, check, sh.identity, uint64(length))
	return hash, check, ok && len(rest) == 0 && length <= KeyMax
}
