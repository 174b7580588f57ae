package influx

import (
	"bytes"
	"strconv"
)

// lineEnd is the position behind the line that begins at from, as the server reads it: a line feed inside of
// a quoted string value does not end a line. Quotes in names mean nothing. What is not Line Protocol ends at
// the first line feed or at the end.
func lineEnd(body []byte, from int) int {
	i := skipUntil(body, from, ' ')
	for i < len(body) && body[i] == ' ' {
		i++
	}
	for i < len(body) && body[i] != '\n' {
		// A field: name=value, followed by a comma, a space or the line's end.
		i = skipUntil(body, i, '=')
		if i == len(body) || body[i] == '\n' {
			break
		}
		i++
		if i < len(body) && body[i] == '"' {
			i = stringEnd(body, i+1)
		}
		for i < len(body) && body[i] != ',' && body[i] != ' ' && body[i] != '\n' {
			i++
		}
		if i < len(body) && body[i] == ',' {
			i++
			continue
		}
		if feed := bytes.IndexByte(body[i:], '\n'); feed >= 0 {
			return i + feed + 1
		}
		return len(body)
	}
	return min(i+1, len(body))
}

// Head is how long the first lines of a body are that are no longer than size together, and how many they
// are; at least one.
func Head(body []byte, size int) (length, points int) {
	for length < len(body) {
		end := lineEnd(body, length)
		if points > 0 && end > size {
			break
		}
		length = end
		points++
	}
	return length, points
}

// Fresh appends to b the lines of text with a timestamp, in nanoseconds, that is not before oldest, as far as
// there is room for all of text, and returns how many of its points it left out. A line without one is fresh.
func (b *Batch) Fresh(text []byte, points int, oldest, arrival int64) (left int) {
	body, kept := b.Body(), 0
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		if stamp, ok := lineStamp(text[at:end]); !ok || stamp >= oldest {
			body = append(body, text[at:end]...)
			kept++
		}
		at = end
	}
	if kept > 0 {
		b.Extend(body, kept, arrival)
	}
	return points - kept
}

// lineStamp is the timestamp of a line.
func lineStamp(line []byte) (int64, bool) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	stamp, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
	return stamp, err == nil
}

// skipUntil finds the next stop that no backslash escapes, or the line's end.
func skipUntil(body []byte, i int, stop byte) int {
	for i < len(body) && body[i] != stop && body[i] != '\n' {
		if body[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(body))
}

// stringEnd is the position behind the quote that ends a string.
func stringEnd(body []byte, i int) int {
	for i < len(body) && body[i] != '"' {
		if body[i] == '\\' {
			i++
		}
		i++
	}
	return min(i+1, len(body))
}

// Part is some whole lines of a body: Body()[From:To] is so many points.
type Part struct {
	From, To, Points int
}

// size is its length in bytes.
func (p Part) size() int { return p.To - p.From }

// halve cuts a part of at least two points at the line's end nearest below its middle, or behind its first
// line.
func halve(body []byte, p Part) (left, right Part) {
	middle := p.From + p.size()/2
	at := lineEnd(body[:p.To], p.From)
	left = Part{From: p.From, To: at, Points: 1}
	for left.Points < p.Points-1 {
		next := lineEnd(body[:p.To], at)
		if next > middle {
			break
		}
		at, left.To = next, next
		left.Points++
	}
	return left, Part{From: left.To, To: p.To, Points: p.Points - left.Points}
}
