package influx

import (
	"bytes"
	"strings"
)

const (
	// refusalsMax bounds the refusals that wait to be taken. What comes beyond is counted like the others,
	// but not told.
	refusalsMax = 256
	// wordsMax is what is kept of the server's words about one point.
	wordsMax = 300
)

// Refusal is a point that the server refused, in a copy of its own.
type Refusal struct {
	// Code is the answer's status, Words what the server said.
	Code  int
	Words string
	// Line is the point as it was sent, without the line feed.
	Line string
	// Trace names the trace of the batch that it was in; all 0 where the batch was not traced.
	Trace [16]byte
}

// Refusals are the points refused since RefusalsTaken was last called, or the first of them. Valid until the
// next call of any method.
func (w *Writer) Refusals() []Refusal { return w.refusals }

// RefusalsTaken empties Refusals.
func (w *Writer) RefusalsTaken() {
	clear(w.refusals)
	w.refusals = w.refusals[:0]
}

// tell keeps a refused part for whoever wants to know, line by line.
func (w *Writer) tell(b *Batch, p Part, code int, words string) {
	words = w.hide(words)
	words = words[:min(len(words), wordsMax)]
	var trace [16]byte
	if b.trace != nil {
		trace = b.trace.ID
	}
	for at := p.From; at < p.To && len(w.refusals) < refusalsMax; {
		end := lineEnd(b.memory[:p.To], at)
		line := bytes.TrimSuffix(b.memory[at:end], []byte{'\n'})
		w.refusals = append(w.refusals, Refusal{Code: code, Words: words, Line: string(line), Trace: trace})
		at = end
	}
}

// culprit is one line of a part that the server names.
type culprit struct {
	line  int // from 0
	words string
}

// culprits finds the lines that an answer names: by number, as 3.x does, or by quoting them, as 1.x and 2.x
// do. They come in order, each once; none if the answer is not understood beyond doubt.
func (r *response) culprits(body []byte, points int) []culprit {
	if r.detailsCut {
		return nil
	}
	lines := linesOf(body, points)
	if lines == nil {
		return nil
	}
	var found []culprit
	if r.lineNumbers.count > 0 {
		found = numbered(r.details, points)
		if len(found) != r.lineNumbers.count {
			return nil
		}
	} else {
		found = quoted(r.details, body, lines)
	}
	return inOrder(found, points)
}

// linesOf are the ends of a body's lines, or nil if there are not as many as points.
func linesOf(body []byte, points int) []int {
	ends := make([]int, 0, points)
	for at := 0; at < len(body); {
		at = lineEnd(body, at)
		ends = append(ends, at)
	}
	if len(ends) != points {
		return nil
	}
	return ends
}

// inOrder sorts culprits by counting and drops repetitions.
func inOrder(found []culprit, points int) []culprit {
	words := make(map[int]string, len(found))
	for _, c := range found {
		words[c.line] = c.words
	}
	sorted := found[:0:0]
	for line := 0; line < points && len(sorted) < len(words); line++ {
		if text, ok := words[line]; ok {
			sorted = append(sorted, culprit{line, text})
		}
	}
	return sorted
}

// numbered reads the objects of InfluxDB 3.x's partial writes: each has a line's number, from 1, and why it
// was refused.
func numbered(text []byte, points int) (found []culprit) {
	var s jsonScanner
	for s.text = text; ; {
		number, words, ok := s.object()
		if !ok {
			return found
		}
		if number >= 1 && number <= points {
			found = append(found, culprit{number - 1, words})
		}
	}
}

// quoted finds the lines that stand behind "unable to parse" in quotes.
func quoted(text, body []byte, ends []int) (found []culprit) {
	places := make(map[string]int, len(ends))
	from := 0
	for i, end := range ends {
		places[string(bytes.TrimRight(body[from:end], "\n"))] = i
		from = end
	}
	rest := string(text)
	for _, key := range messageKeys {
		if _, after, ok := strings.Cut(rest, key); ok {
			rest = unescapedText(after)
			break
		}
	}
	for {
		_, after, ok := strings.Cut(rest, unparsedMark)
		if !ok {
			return found
		}
		rest = after
		// A line may hold what ends the quotation: the longest that is a line counts.
		for end := 0; ; {
			next := strings.Index(after[end:], "': ")
			if next < 0 {
				break
			}
			end += next
			if line, ok := places[after[:end]]; ok {
				words, _, _ := strings.Cut(after[end+3:], "\n")
				found = append(found, culprit{line, plain(words)})
				rest = after[end:]
				break
			}
			end += 3
			if end > 1<<16 {
				break
			}
		}
	}
}

// without cuts the part that is next around some of its lines, which are taken off. It reports false, and
// changes nothing, when there would be too many parts.
func (d *delivery) without(b *Batch, lines []culprit) bool {
	p := d.top()
	ends := linesOf(b.memory[p.From:p.To], p.Points)
	var kept []Part
	first, from := 0, p.From
	add := func(line, to int) {
		if line > first {
			kept = append(kept, Part{From: from, To: to, Points: line - first})
		}
	}
	for _, c := range lines {
		start := p.From
		if c.line > 0 {
			start = p.From + ends[c.line-1]
		}
		add(c.line, start)
		first, from = c.line+1, p.From+ends[c.line]
	}
	add(p.Points, p.To)
	if d.count-1+len(kept) > partsMax {
		return false
	}
	d.done()
	for i := len(kept) - 1; i >= 0; i-- {
		d.parts[d.count] = kept[i]
		d.count++
	}
	return true
}
