package influx

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

// digits reads a length.
func digits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// equalFold compares with a name in lower case, ASCII letters in either case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// hasToken looks for a word in a list with commas.
func hasToken(value []byte, word string) bool {
	for len(value) > 0 {
		item, rest, _ := bytes.Cut(value, []byte{','})
		if equalFold(bytes.Trim(item, " \t"), word) {
			return true
		}
		value = rest
	}
	return false
}

// wait is what the answer asks to wait, in nanoseconds; 0 if it asks for nothing. A date counts from the
// server's own clock, if it says what that is, so that clocks that differ do no harm.
func (r *response) wait(wall time.Time) int64 {
	if r.retryAfter == "" {
		return 0
	}
	// More seconds than the type holds are the most that it does.
	seconds, err := strconv.ParseUint(r.retryAfter, 10, 32)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return int64(seconds) * int64(time.Second)
	}
	until, ok := parseDate(r.retryAfter)
	if !ok {
		return 0
	}
	if from, ok := parseDate(r.date); ok {
		wall = from
	}
	return max(int64(until.Sub(wall)), 0)
}

// parseDate reads the three forms of dates in HTTP.
func parseDate(text string) (time.Time, bool) {
	for _, layout := range []string{
		"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// words are what is shown of a failure: the message, or what there is in place of it.
func (r *response) words() string {
	switch message := r.message(); {
	case r.status < 300:
		return "a web page: is this the right server and path?"
	case r.status < 400 && r.location != "":
		// A query may hold what nobody shall see.
		place, _, _ := strings.Cut(r.location, "?")
		return "redirected to " + plain(place)
	case r.encoding != "" && !strings.EqualFold(r.encoding, "identity"):
		return plain(r.reason) + " (more is in " + plain(r.encoding) + ", which was not asked for)"
	case message != "":
		return message
	}
	return plain(r.reason)
}

// message is the server's words: the value of "error" or "message" if the body is such an object, else the
// body's beginning, printable and short.
func (r *response) message() string {
	text := string(r.first[:r.firstLength])
	for _, key := range messageKeys {
		if _, after, ok := strings.Cut(text, key); ok {
			text = unescapedText(after)
			break
		}
	}
	return plain(text)
}

// messageKeys are where InfluxDB 2.x and the others say what is wrong.
var messageKeys = [...]string{`"message":"`, `"error":"`}

// plain is words fit for a log's line: valid UTF-8 without control characters.
func plain(text string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7F {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?")))
}

// unescapedText is a JSON string's text up to its closing quote, with its escapes undone.
func unescapedText(text string) string {
	var b strings.Builder
	for i := 0; i < len(text) && text[i] != '"'; i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = text[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'u':
			n, err := strconv.ParseUint(text[i+1:min(i+5, len(text))], 16, 16)
			if err != nil {
				b.WriteByte(c)
				continue
			}
			// Servers escape so what is special in HTML, which is ASCII; halves of a pair become U+FFFD.
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
