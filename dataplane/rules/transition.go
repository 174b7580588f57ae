package rules

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"

	"culvert/dataplane/point"
)

// Transition is one change of an alert's state. It is a plain value without pointers, to be copied through a
// ring; the Set that made it renders it.
type Transition struct {
	Set     uint64 // Set.ID of the rules
	Rule    uint32 // index into Set.Rules
	Firing  bool
	Reason  Reason // why it ended, where no point ended it
	Time    int64  // event time of the change, nanoseconds since 1970
	Since   int64  // event time at which it began to fire
	Arrival int64  // of the point that made the change, or when time made it; CLOCK_MONOTONIC nanoseconds

	// Departed says for which notifiers the worker sent it by its own TX ring, a bit each, and DepartedAt
	// when; Tried, that it looked at it. They are the worker's and begin as zero.
	Departed   uint64
	DepartedAt int64 // CLOCK_MONOTONIC nanoseconds
	Tried      bool

	keyBytes, valuesBytes uint16
	text                  [TextMax]byte
}

// Transitions are the state changes of the keys that this evaluator owns, oldest first; valid until the next
// call of any method. A key whose changes find no room is told by its latest state when there is some.
func (e *Evaluator) Transitions() []Transition { return e.transitions.waiting() }

// Taken says that the first n of Transitions are on their way.
func (e *Evaluator) Taken(n int) { e.transitions.taken(n) }

// announce tells the control plane whether an owned key is firing, unless it was told last.
func (e *Evaluator) announce(at int32) {
	rec := e.records.at(at)
	if rec.announced == rec.phase.fires() {
		return
	}
	t := e.transitions.add()
	if t == nil {
		e.records.enqueue(at, dirtyAnnounce)
		return
	}
	rec.announced = rec.phase.fires()
	t.Set, t.Rule, t.Firing, t.Reason = e.set.id, rec.rule, rec.announced, rec.reason
	t.Time, t.Since, t.Arrival = rec.changed, rec.since, rec.changeArrival
	t.Departed, t.DepartedAt, t.Tried = 0, 0, false
	t.keyBytes, t.valuesBytes = rec.keyBytes, rec.valuesBytes
	if rec.text != 0 {
		copy(t.text[:], e.texts.bytes(rec.text)[:rec.keyBytes+rec.valuesBytes])
	}
}

// capture keeps the point's key and the rule's values in a record.
func (e *Evaluator) capture(rec *record) {
	var text [TextMax]byte
	r := &e.set.rules[rec.rule]
	keyBytes := e.writeKey(&e.set.shapes[r.shape], text[:])
	valuesBytes := e.writeValues(r, text[keyBytes:])
	e.keep(rec, text[:keyBytes+valuesBytes], keyBytes)
}

// keep stores a key's text and values in a record.
func (e *Evaluator) keep(rec *record, text []byte, keyBytes int) {
	if rec.text.room() < len(text) {
		e.texts.release(rec.text)
		rec.text = e.texts.take(len(text))
	}
	copy(e.texts.bytes(rec.text), text)
	rec.keyBytes, rec.valuesBytes = uint16(keyBytes), uint16(len(text)-keyBytes)
}

// The states of an alert.
const (
	StateFiring = "firing"
	StateOK     = "ok"
)

// Alert is a state change in words, for notifiers.
type Alert struct {
	Group, Rule string
	State       string // StateFiring or StateOK
	Reason      string // why it ended, where no point ended it: see Reason
	// Labels tell this alert from all others, and are the same when it begins and when it ends: alertname,
	// the rule's labels, the tags of its key, and the measurement where the rule has several.
	Labels      map[string]string
	Annotations map[string]string
	Actions     []string
	Time        int64 // event time of the change, nanoseconds since 1970
	Since       int64 // event time at which it began to fire
	Arrival     int64 // of the packet that made the change, CLOCK_MONOTONIC nanoseconds
	// Fingerprint is a hash of rule and key, the same in every run.
	Fingerprint string
	// Values are what the rule looked at, by the names it uses: float64, int64, uint64, bool or string.
	Values map[string]any
}

// Render says in words what a Transition of this Set says. It is for the control plane: it allocates. A
// Transition of another Set gives an Alert without a rule.
func (s *Set) Render(t *Transition) Alert {
	if t.Set != s.id || int(t.Rule) >= len(s.rules) {
		return Alert{}
	}
	r := &s.rules[t.Rule]
	a := Alert{
		Group: r.group, Rule: r.name, State: StateOK, Actions: r.actions,
		Labels: map[string]string{}, Annotations: map[string]string{},
		Time: t.Time, Since: t.Since, Arrival: t.Arrival, Values: map[string]any{},
	}
	if t.Firing {
		a.State = StateFiring
	}
	a.Reason = t.Reason.String()
	keyText := t.text[:t.keyBytes]
	key := s.readKey(r, keyText)
	r.readValues(t.text[t.keyBytes:t.keyBytes+t.valuesBytes], a.Values)
	lookup := func(n name) string {
		switch n.kind {
		case nameMeasurement:
			return key.measurement
		case nameTime:
			return strconv.FormatInt(t.Time, 10)
		case nameTag:
			if v, ok := key.tags[n.text]; ok {
				return v
			}
		}
		return formatValue(a.Values[n.String()])
	}
	for tag, v := range key.tags {
		a.Labels[tag] = v
	}
	if r.many {
		a.Labels["measurement"] = key.measurement
	}
	for _, l := range r.labels {
		a.Labels[l.name] = l.text.render(lookup)
	}
	a.Labels["alertname"] = r.name
	for _, l := range r.annotations {
		a.Annotations[l.name] = l.text.render(lookup)
	}
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, r.identity))
	h.Write(keyText)
	a.Fingerprint = fmt.Sprintf("%016x", h.Sum64())
	return a
}

// String is the name as expressions write it.
func (n name) String() string {
	switch n.kind {
	case nameMeasurement:
		return "measurement"
	case nameTime:
		return "time"
	case nameTag:
		tag := "tags." + n.text
		if tree, err := parse(tag); err == nil && tree.kind == nodeName && tree.name == n {
			return tag
		}
		return "tags[" + strconv.Quote(n.text) + "]"
	}
	// Some words are no fields where they stand alone; the parser knows them.
	if tree, err := parse(n.text); err == nil && tree.kind == nodeName && tree.name == n {
		return n.text
	}
	return "fields[" + strconv.Quote(n.text) + "]"
}

// keyWords is a key's text, read. Tags that the points lack are left out.
type keyWords struct {
	measurement string
	tags        map[string]string
}

func (s *Set) readKey(r *rule, text []byte) keyWords {
	next := func() string {
		if len(text) < 2 {
			return ""
		}
		n := min(int(binary.LittleEndian.Uint16(text)), len(text)-2)
		word := string(text[2 : 2+n])
		text = text[2+n:]
		return word
	}
	k := keyWords{measurement: next(), tags: map[string]string{}}
	sh := &s.shapes[r.shape]
	for _, tag := range sh.tags {
		if v := next(); v != "" {
			k.tags[tag] = v
		}
	}
	for sh.series && len(text) > 0 {
		tag := next()
		k.tags[tag] = next()
	}
	return k
}

// readValues reads what writeValues wrote.
func (r *rule) readValues(text []byte, into map[string]any) {
	for _, c := range r.captures {
		if len(text) == 0 {
			return
		}
		kind := point.Kind(text[0])
		text = text[1:]
		switch {
		case kindHasNumber(kind) && len(text) >= 8:
			into[c.name.String()] = numberOf(kind, binary.LittleEndian.Uint64(text))
			text = text[8:]
		case kind == point.String && len(text) >= 2:
			n := min(int(binary.LittleEndian.Uint16(text)), len(text)-2)
			into[c.name.String()] = string(text[2 : 2+n])
			text = text[2+n:]
		case kind != point.Missing:
			return
		}
	}
}

func numberOf(kind point.Kind, bits uint64) any {
	switch kind {
	case point.Float:
		return math.Float64frombits(bits)
	case point.Int:
		return int64(bits)
	case point.Uint:
		return bits
	}
	return bits != 0
}

// formatValue writes a value as an annotation shows it; nothing for what is missing.
func formatValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		format := byte('f')
		if size := math.Abs(v); size >= 1e15 || size > 0 && size < 1e-6 {
			format = 'g'
		}
		return strconv.FormatFloat(v, format, -1, 64)
	}
	return fmt.Sprint(v)
}
