package influx

import (
	"fmt"
	"strings"
	"time"
)

// trustTime is for how long after the server took points a refusal of others is about those, in nanoseconds.
const trustTime = int64(time.Minute)

// cut halves the part that was sent, within the batch's budget, and reports whether it did.
func (w *Writer) cut(b *Batch) bool {
	d := &b.delivery
	if d.halves >= halvesMax || !d.cut(b) {
		return false
	}
	d.halves++
	w.halve++
	return true
}

// refuse takes the part that was sent as refused by the server.
func (w *Writer) refuse(r *response, b *Batch, why Reason) {
	d := &b.delivery
	p := d.done()
	d.rejected += p.Points
	d.reason = max(d.reason, why)
	b.refuse(p, p.Points)
	w.tell(b, p, r.status, r.words())
}

// tellNamed tells of the lines that an answer names.
func (w *Writer) tellNamed(r *response, b *Batch, p Part, named []culprit) {
	ends := linesOf(b.memory[p.From:p.To], p.Points)
	for _, c := range named {
		line := Part{From: p.From, To: p.From + ends[c.line], Points: 1}
		if c.line > 0 {
			line.From += ends[c.line-1]
		}
		b.refuse(line, 1)
		w.tell(b, line, r.status, c.words)
	}
}

// partial is an answer that says that some points are stored and so many are not. If it does not name these,
// they are found by sending halves again, which changes nothing for those that are stored.
func (w *Writer) partial(r *response, b *Batch, rejected int) {
	d := &b.delivery
	p := d.top()
	w.lastReject = w.hide(r.words())
	named := r.culprits(b.memory[p.From:p.To], p.Points)
	switch {
	case len(named) == rejected:
		w.tellNamed(r, b, p, named)
	case rejected == p.Points:
		w.refuse(r, b, ReasonPartial)
		return
	case w.cut(b):
		return
	}
	if len(named) != rejected {
		// Without names once the budget is spent: how many they are has to do.
		b.refuse(p, rejected)
	}
	d.done()
	d.written += p.Points - rejected
	d.rejected += rejected
	d.reason = max(d.reason, ReasonPartial)
}

// refused is an answer that says that a request is bad and nothing of it is certain to be stored: the lines
// that it names are refused, else those that are left alone by halving; the rest is sent again. It reports
// false when the batch waits instead, since the server refuses whatever it is sent.
func (w *Writer) refused(r *response, b *Batch, rejected int, now int64) bool {
	d := &b.delivery
	p := d.top()
	w.lastReject = w.hide(r.words())
	named := r.culprits(b.memory[p.From:p.To], p.Points)
	if len(named) > 0 && d.halves < halvesMax && d.without(b, named) {
		d.halves++
		d.rejected += len(named)
		d.reason = max(d.reason, ReasonRefused)
		w.tellNamed(r, b, p, named)
		return true
	}
	if rejected == p.Points {
		w.refuse(r, b, ReasonRefused)
		return true
	}
	if w.cut(b) {
		return true
	}
	if !w.vouched(r, now) {
		// Nothing shows that the server takes any point at all.
		d.rotate()
		w.hold(b, fmt.Sprintf("%d: %s (it refuses all that it is sent: is this the right server, path, "+
			"database or bucket?)", r.status, r.words()), now)
		return false
	}
	w.refuse(r, b, ReasonRefused)
	// One more may be refused without proof that others are taken, but not for ever.
	w.wroteAt = max(w.wroteAt-trustTime/8, 1)
	return true
}

// vouched tells whether a refusal is about points: it speaks of one, or the server took others of late.
func (w *Writer) vouched(r *response, now int64) bool {
	return r.blames() || w.wroteAt != 0 && now-w.wroteAt <= trustTime
}

// blames tells whether an answer speaks of a line.
func (r *response) blames() bool {
	return r.unparsed.count > 0 || r.lineNumbers.count > 0 || aboutPoints(r.message()) ||
		strings.Contains(r.message(), "partial write")
}

// rotate lets the part that is next be the last, so that another one shows whether the server takes any.
func (d *delivery) rotate() {
	p := d.top()
	copy(d.parts[1:d.count], d.parts[:d.count-1])
	d.parts[0] = p
}

// hold lets a batch wait until somebody mends the target; it costs no attempt.
func (w *Writer) hold(b *Batch, why string, now int64) {
	w.trouble(why, now)
	w.breaker.connects = false
	w.trip(now)
	w.requeue(b, now)
}
