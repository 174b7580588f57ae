package influx

import "bytes"

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

// part is some lines of a body.
type part struct {
	from, to, points int
}

// size is its length in bytes.
func (p part) size() int { return p.to - p.from }

// halve cuts a part of at least two points at the line's end nearest below its middle, or behind its first
// line.
func halve(body []byte, p part) (left, right part) {
	middle := p.from + p.size()/2
	at := lineEnd(body[:p.to], p.from)
	left = part{from: p.from, to: at, points: 1}
	for left.points < p.points-1 {
		next := lineEnd(body[:p.to], at)
		if next > middle {
			break
		}
		at, left.to = next, next
		left.points++
	}
	return left, part{from: left.to, to: p.to, points: p.points - left.points}
}
