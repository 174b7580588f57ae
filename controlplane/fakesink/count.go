package fakesink

import "bytes"

// CountLines counts lines as a gateway writes them, one point each: line feeds outside quoted strings, and
// a last line without one. It believes what it sees; checking is the decoder's work.
func CountLines(body []byte) uint64 {
	// Many bodies have no quotes at all, and both searches run at memory speed.
	quote := bytes.IndexByte(body, '"')
	if quote < 0 {
		return plainLines(body)
	}
	// Everything up to the line with the first quote is plain.
	start := bytes.LastIndexByte(body[:quote], '\n') + 1
	count := uint64(bytes.Count(body[:start], []byte{'\n'}))
	var lines shape
	for start < len(body) {
		end := lines.lineLength(body[start:])
		if end > 0 {
			count++
		}
		start += end + 1
	}
	return count
}

func plainLines(body []byte) uint64 {
	count := uint64(bytes.Count(body, []byte{'\n'}))
	if len(body) > 0 && body[len(body)-1] != '\n' {
		count++
	}
	return count
}

// shape is where the quotes of a line stand. Lines of one sender look alike: to find a line's marks again
// where the last one had them takes a third of the time of looking for them.
type shape struct {
	count int           // of quotes; 0: nothing is known yet
	marks [shapeMax]int // where they stand, from the line's end
	space int           // where the space before the fields stands, likewise
}

// shapeMax is how many quotes a shape may have: four strings.
const shapeMax = 8

// lineLength is the length of the first line, without its line feed.
func (s *shape) lineLength(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		end = len(b)
	}
	line := b[:end]
	quotes := bytes.Count(line, []byte{'"'})
	if quotes == 0 || s.fits(line, quotes) {
		return end
	}
	if stringsEnd(line, bytes.IndexByte(line, '"')) {
		s.learn(line, quotes)
		return end
	}
	return quotedLine(b)
}

// fits tells that a line has exactly the quotes of the shape, that they open and close strings, and that an
// unescaped space stands before them: then no string goes on behind the line.
func (s *shape) fits(line []byte, quotes int) bool {
	if quotes != s.count || len(line) <= s.space || line[len(line)-s.space] != ' ' ||
		line[len(line)-s.space-1] == '\\' {
		return false
	}
	for i := 0; i < quotes; i += 2 {
		opening, closing := len(line)-s.marks[i], len(line)-s.marks[i+1]
		if line[opening] != '"' || line[opening-1] != '=' || line[closing] != '"' || line[closing-1] == '\\' {
			return false
		}
	}
	return true
}

// learn takes the shape of a line whose strings end in it.
func (s *shape) learn(line []byte, quotes int) {
	s.count = 0
	if quotes > shapeMax || quotes%2 != 0 {
		return
	}
	at := -1
	for i := range quotes {
		at += 1 + bytes.IndexByte(line[at+1:], '"')
		s.marks[i] = len(line) - at
	}
	// stringsEnd has seen that it is there and not the first byte.
	s.space = len(line) - bytes.IndexByte(line, ' ')
	s.count = quotes
}

// stringsEnd tells that every string of the text begins and ends in it, as far as that can be told without
// looking at every byte: the usual lines are like this. Its first quote stands at quote. False means only
// that quotedLine has to look.
func stringsEnd(text []byte, quote int) bool {
	space := bytes.IndexByte(text[:quote], ' ')
	if space < 1 || text[space-1] == '\\' {
		return false
	}
	for {
		if text[quote-1] != '=' {
			return false
		}
		length := bytes.IndexByte(text[quote+1:], '"')
		end := quote + 1 + length
		if length < 0 || text[end-1] == '\\' {
			return false
		}
		next := bytes.IndexByte(text[end+1:], '"')
		if next < 0 {
			return true
		}
		quote = end + 1 + next
	}
}

// quotedLine is the length of a line that has quotes. They open a string only as a field's value: behind the
// first unescaped space and right behind "=". Elsewhere they are part of a name.
func quotedLine(line []byte) int {
	i := 0
	for ; i < len(line) && line[i] != ' '; i++ {
		if line[i] == '\n' {
			return i
		}
		if line[i] == '\\' && i+1 < len(line) && line[i+1] != '\n' {
			i++
		}
	}
	inside := false
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case inside && c == '\\':
			i++
		case c == '"' && inside:
			inside = false
		case c == '"' && line[i-1] == '=':
			inside = true
		case c == '\n' && !inside:
			return i
		}
	}
	return len(line)
}
