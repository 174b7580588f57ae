package influx

// jsonScanner reads just as much of JSON as InfluxDB 3.x's refusals take: objects with a line's number and
// the reason.
type jsonScanner struct {
	text []byte
	at   int
}

// object reads on to the end of the next object that has a line's number.
func (s *jsonScanner) object() (number int, words string, ok bool) {
	number = -1
	key := ""
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			value := s.str()
			if s.peek() == ':' {
				key = value
				s.at++
				continue
			}
			if key == "error_message" {
				words = plain(value)
			}
			key = ""
		case c >= '0' && c <= '9':
			n := s.number()
			if key == "line_number" {
				number = n
			}
			key = ""
		case c == '{':
			number, words = -1, ""
			s.at++
		case c == '}':
			s.at++
			if number >= 0 {
				return number, words, true
			}
		default:
			s.at++
		}
	}
	return 0, "", false
}

// str reads a string and undoes its escapes.
func (s *jsonScanner) str() string {
	start := s.at + 1
	for s.at = start; s.at < len(s.text) && s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at = min(s.at, len(s.text))
	value := unescapedText(string(s.text[start:s.at]))
	s.at = min(s.at+1, len(s.text))
	return value
}

// number reads digits.
func (s *jsonScanner) number() (n int) {
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		n = min(10*n+int(s.text[s.at]-'0'), 1<<30)
	}
	return n
}

// peek is the next byte that is no space, without taking it; spaces before it are taken.
func (s *jsonScanner) peek() byte {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return s.text[s.at]
		}
	}
	return 0
}
