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
