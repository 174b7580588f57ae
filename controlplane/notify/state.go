package notify

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// The state as bytes, all numbers little endian:
//
//	"CVNS" | version uint16 | 0 uint16 | length of the body uint32 | body | CRC-32C of all before uint32
//
// The body is JSON of the type stored.
const (
	stateMagic   = "CVNS"
	stateVersion = 1
	stateHead    = len(stateMagic) + 2 + 2 + 4
	stateTail    = 4
)

// stored is what outlives the process. Alerts is what the others mean by their numbers.
type stored struct {
	Alerts    []storedAlert
	Notifiers []storedNotifier
}

type storedAlert struct {
	Rule, Fingerprint   string
	Firing              bool
	Labels, Annotations map[string]string
	Time, Since         time.Time
	Reason              string `json:",omitempty"`
}

type storedNotifier struct {
	Name    string
	URL     string `json:",omitempty"`
	Entries []storedEntry
}

// storedEntry says what the receiver knows of one alert (0: nothing for sure) and what is to be delivered
// yet: numbers of alerts from 1 on, 0 for none.
type storedEntry struct {
	Known   int `json:",omitempty"`
	Pending int `json:",omitempty"`
}

// State is what the receivers know and what they are still to be told, as bytes for Restore. It may be called
// at any time, after Close too.
func (n *Notifiers) State() ([]byte, error) {
	var s stored
	numbers := map[*Alert]int{}
	number := func(a *Alert) int {
		if numbers[a] == 0 {
			s.Alerts = append(s.Alerts, storedAlert{
				Rule: a.Rule, Fingerprint: a.Fingerprint, Firing: a.Firing, Labels: a.Labels,
				Annotations: a.Annotations, Time: a.Time, Since: a.Since, Reason: a.Reason,
			})
			numbers[a] = len(s.Alerts)
		}
		return numbers[a]
	}
	for _, one := range n.table.Load().list {
		kept := storedNotifier{Name: one.config.Name, URL: one.url}
		one.mutex.Lock()
		for _, e := range one.queue.entries {
			var numbers storedEntry
			if e.knows == knowsFiring {
				numbers.Known = number(e.state)
			}
			switch {
			case e.last != nil:
				numbers.Pending = number(e.last.Alert)
			case e.flying != nil && !e.flying.refresh:
				numbers.Pending = number(e.flying.Alert)
			}
			if numbers != (storedEntry{}) {
				kept.Entries = append(kept.Entries, numbers)
			}
		}
		one.mutex.Unlock()
		s.Notifiers = append(s.Notifiers, kept)
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the notifiers' state: %w", err)
	}
	state := make([]byte, 0, stateHead+len(body)+stateTail)
	state = append(state, stateMagic...)
	state = binary.LittleEndian.AppendUint16(state, stateVersion)
	state = binary.LittleEndian.AppendUint16(state, 0)
	state = binary.LittleEndian.AppendUint32(state, uint32(len(body)))
	state = append(state, body...)
	return binary.LittleEndian.AppendUint32(state, crc32.Checksum(state, castagnoli())), nil
}

// Changes is another number whenever State may be another one.
func (n *Notifiers) Changes() (sum uint64) {
	for _, one := range n.table.Load().list {
		sum += one.changes.Load()
	}
	return sum
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Restore takes over what State gave in an earlier life: what receivers know is not told again, and what they
// were not told is. It comes before the first Send. Notifiers that there are no more are left out; bytes that
// are not whole are an error and change nothing.
func (n *Notifiers) Restore(state []byte) error {
	s, err := decodeState(state)
	if err != nil {
		return fmt.Errorf("read the notifiers' state: %w", err)
	}
	alerts := make([]*Alert, len(s.Alerts))
	for i, a := range s.Alerts {
		alerts[i] = &Alert{Rule: a.Rule, Fingerprint: a.Fingerprint, Firing: a.Firing, Labels: a.Labels,
			Annotations: a.Annotations, Time: a.Time, Since: a.Since, Reason: a.Reason}
	}
	now := time.Now()
	for _, kept := range s.Notifiers {
		for _, one := range n.table.Load().list {
			if one.config.Name == kept.Name && one.url == kept.URL {
				one.restore(kept.Entries, alerts, now)
			}
		}
	}
	return nil
}

func decodeState(state []byte) (*stored, error) {
	if len(state) < stateHead+stateTail || string(state[:len(stateMagic)]) != stateMagic {
		return nil, errors.New("it does not begin as it should")
	}
	end := len(state) - stateTail
	sum := binary.LittleEndian.Uint32(state[end:])
	if got := crc32.Checksum(state[:end], castagnoli()); got != sum {
		return nil, fmt.Errorf("its checksum is %08x, want %08x", got, sum)
	}
	if version := binary.LittleEndian.Uint16(state[4:]); version != stateVersion {
		return nil, fmt.Errorf("its version is %d, want %d", version, stateVersion)
	}
	if length := binary.LittleEndian.Uint32(state[8:]); int64(length) != int64(end-stateHead) {
		return nil, fmt.Errorf("its length is %d, want %d", end-stateHead, length)
	}
	var s stored
	decoder := json.NewDecoder(bytes.NewReader(state[stateHead:end]))
	if err := decoder.Decode(&s); err != nil {
		return nil, err
	}
	for _, one := range s.Notifiers {
		for _, e := range one.Entries {
			if e.Known < 0 || e.Known > len(s.Alerts) || e.Pending < 0 || e.Pending > len(s.Alerts) {
				return nil, fmt.Errorf("notifier %q speaks of an alert that is not there", one.Name)
			}
		}
	}
	return &s, nil
}

func (one *notifier) restore(entries []storedEntry, alerts []*Alert, now time.Time) {
	one.mutex.Lock()
	defer one.unlock()
	for _, kept := range entries {
		var known, pending *Alert
		if kept.Known > 0 {
			known = alerts[kept.Known-1]
		}
		if kept.Pending > 0 {
			pending = alerts[kept.Pending-1]
		}
		one.queue.restore(known, pending, now)
	}
	select {
	case one.wake <- struct{}{}:
	default:
	}
}

// restore makes an entry of an earlier life, of which there is a known state, a pending one, or both.
func (q *queue) restore(known, pending *Alert, now time.Time) {
	either := known
	if either == nil {
		either = pending
	}
	if either == nil || q.entries[either.Fingerprint] != nil || len(q.entries) >= q.keysMax {
		return
	}
	e := &entry{restored: true}
	q.entries[either.Fingerprint] = e
	if known != nil && known.Firing {
		e.knows, e.state = knowsFiring, known
		q.repeatLater(e, now)
	}
	if pending == nil {
		q.forget(e, either.Fingerprint)
		return
	}
	q.offer(pending, now)
	e.restored = true
}

// restarted is the reason of a resolution that no point brought.
const restarted = "restarted"

// Reconcile ends the alerts of an earlier life that the rules do not know as firing: those of a rule that is
// gone or was changed, or whose state was lost. It comes once, when the rules have their state back. An alert
// whose labels are those of one that fires now is not resolved for its receivers, which know alerts by their
// labels; it is forgotten. Reconcile returns how many it ended.
func (n *Notifiers) Reconcile(firing func(fingerprint string) bool) int {
	ended := 0
	now := time.Now()
	for _, one := range n.table.Load().list {
		one.mutex.Lock()
		ended += one.queue.reconcile(firing, now)
		one.unlock()
		select {
		case one.wake <- struct{}{}:
		default:
		}
	}
	return ended
}

func (q *queue) reconcile(firing func(fingerprint string) bool, now time.Time) (ended int) {
	var orphans []*Alert
	present := map[string]bool{}
	for fingerprint, e := range q.entries {
		a := q.newestAlert(e)
		switch {
		case a == nil || !a.Firing:
		case e.restored && !firing(fingerprint):
			orphans = append(orphans, a)
		default:
			present[labelText(a)] = true
		}
		e.restored = false
	}
	for _, a := range orphans {
		e := q.entries[a.Fingerprint]
		if present[labelText(a)] && e.last == nil && e.flying == nil {
			e.knows, e.state = unknown, nil
			q.forget(e, a.Fingerprint)
			continue
		}
		end := *a
		end.Firing, end.Time, end.Reason, end.Arrival = false, now, restarted, 0
		q.offer(&end, now)
		ended++
	}
	return ended
}

// newestAlert is the state that the receiver will know, or nil if that is not known.
func (q *queue) newestAlert(e *entry) *Alert {
	switch {
	case e.last != nil:
		return e.last.Alert
	case e.flying != nil:
		return e.flying.Alert
	case e.knows == knowsFiring:
		return e.state
	}
	return nil
}

// labelText tells label sets apart.
func labelText(a *Alert) string {
	labels := withName(a)
	var text []byte
	for _, name := range sortedKeys(labels) {
		text = strconv.AppendQuote(text, name)
		text = strconv.AppendQuote(text, labels[name])
	}
	return string(text)
}
