package lineproto

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The reference decoder reads the same language as Decoder, slowly and obviously: strings, regular
// expressions, maps, a line at a time. It knows no reasons, only which lines are bad.

var (
	wholeNumber = regexp.MustCompile(`^-?[0-9]+i$`)
	countNumber = regexp.MustCompile(`^[0-9]+u$`)
	realNumber  = regexp.MustCompile(`^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	noNumber    = regexp.MustCompile(`^[+-]?(?i:nan|inf|infinity)$`)
	stampNumber = regexp.MustCompile(`^-?[0-9]+$`)
	truths      = map[string]bool{"t": true, "T": true, "true": true, "True": true, "TRUE": true,
		"f": false, "F": false, "false": false, "False": false, "FALSE": false}
)

// referenceDecode gives points as show does and bad lines as !line, and the number of fields dropped.
func referenceDecode(payload string, unit int64) (found []string, dropped int) {
	for payload != "" {
		text := strings.TrimLeft(payload, " \t\x00")
		if end, ok := lineEndOf(text); ok {
			payload = text[end:]
			continue
		}
		if strings.HasPrefix(text, "#") {
			_, payload, _ = strings.Cut(text, "\n")
			continue
		}
		r := referenceLine{text: text, unit: unit}
		if r.read() {
			found = append(found, r.String())
			dropped += r.dropped
			payload = r.text
			continue
		}
		// The bad line ends at the first LF in what was not read.
		read := payload[:len(payload)-len(r.text)]
		rest, after, _ := strings.Cut(r.text, "\n")
		found = append(found, "!"+strings.TrimSuffix(read+rest, "\r"))
		payload = after
	}
	return found, dropped
}

// lineEndOf is the length of the line end that a text begins with.
func lineEndOf(text string) (int, bool) {
	switch {
	case text == "":
		return 0, true
	case strings.HasPrefix(text, "\n"):
		return 1, true
	case strings.HasPrefix(text, "\r\n"):
		return 2, true
	case text == "\r":
		return 1, true
	}
	return 0, false
}

type referenceLine struct {
	text    string // what is not read yet
	unit    int64
	names   []string // all of them, the measurement first
	tags    []string
	fields  []string
	values  map[string]string
	time    string
	dropped int
}

func (r *referenceLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", r.names[0])
	for _, tag := range r.tags {
		b.WriteString(" " + tag)
	}
	b.WriteString(" |")
	for _, field := range r.fields {
		fmt.Fprintf(&b, " %q=%s", field, r.values[field])
	}
	return b.String() + r.time
}

// read reads a line and, if it is good, its end.
func (r *referenceLine) read() bool {
	whole := r.text
	if !r.readKey() {
		return false
	}
	if len(whole)-len(r.text) > KeyLengthMax {
		return false
	}
	key := len(whole) - len(r.text)
	if !strings.HasPrefix(r.text, " ") {
		return false
	}
	r.text = strings.TrimLeft(r.text, " ")
	longest := 0
	r.values = map[string]string{}
	for {
		before := len(r.text)
		name, ok := r.readName(",= ")
		longest = max(longest, before-len(r.text))
		if !ok || !r.take("=") {
			return false
		}
		value, ok := r.readValue()
		if !ok {
			return false
		}
		r.names = append(r.names, name)
		if _, again := r.values[name]; value == "" {
			r.dropped++
		} else {
			if again {
				r.dropped++
			} else {
				r.fields = append(r.fields, name)
			}
			r.values[name] = value
		}
		if !r.take(",") {
			break
		}
	}
	body := whole[:len(whole)-len(r.text)]
	if key+keyFieldGap+longest > KeyLengthMax || !r.readTime() {
		return false
	}
	if !utf8.ValidString(body) || len(r.fields) == 0 {
		return false
	}
	for _, name := range r.names {
		if strings.Contains(name, "\x7f") {
			return false
		}
	}
	end, ok := lineEndOf(r.text)
	r.text = r.text[end:]
	return ok
}

func (r *referenceLine) take(prefix string) bool {
	var found bool
	r.text, found = strings.CutPrefix(r.text, prefix)
	return found
}

func (r *referenceLine) readKey() bool {
	measurement, ok := r.readName(", ")
	if !ok {
		return false
	}
	r.names = append(r.names, measurement)
	seen := map[string]bool{}
	for r.take(",") {
		name, ok := r.readName(",= ")
		if !ok || !r.take("=") || seen[name] {
			return false
		}
		seen[name] = true
		value, ok := r.readName(",= ")
		if !ok || strings.HasPrefix(r.text, "=") {
			return false
		}
		r.names = append(r.names, name, value)
		r.tags = append(r.tags, fmt.Sprintf("%q=%q", name, value))
	}
	return true
}

// readName reads up to one of the characters that end a name and can be escaped in it.
func (r *referenceLine) readName(special string) (string, bool) {
	var name strings.Builder
	for r.text != "" {
		rest := strings.TrimLeft(r.text, "\\")
		run := r.text[:len(r.text)-len(rest)]
		_, atEnd := lineEndOf(rest)
		isSpecial := rest != "" && strings.IndexByte(special, rest[0]) >= 0
		if run != "" && (atEnd || isSpecial && len(run)%2 == 0) {
			return "", false
		}
		if run == "" && (isSpecial || rest[0] < ' ') {
			break
		}
		if run != "" && isSpecial {
			run = run[1:]
		} else if run != "" {
			name.WriteString(run)
			r.text = rest
			continue
		}
		name.WriteString(run + rest[:1])
		r.text = rest[1:]
	}
	return name.String(), name.Len() > 0
}

// readValue reads a value and writes it as show does; one that is dropped is empty.
func (r *referenceLine) readValue() (string, bool) {
	if strings.HasPrefix(r.text, `"`) {
		return r.readString()
	}
	n := 0
	for n < len(r.text) && !strings.ContainsAny(r.text[n:n+1], ", ") {
		if _, atEnd := lineEndOf(r.text[n:]); atEnd {
			break
		}
		n++
	}
	token, number := r.text[:n], ""
	switch {
	case wholeNumber.MatchString(token):
		value, err := strconv.ParseInt(token[:n-1], 10, 64)
		if err != nil {
			return "", false
		}
		number = fmt.Sprintf("i:%d", value)
	case countNumber.MatchString(token):
		value, err := strconv.ParseUint(token[:n-1], 10, 64)
		if err != nil {
			return "", false
		}
		number = fmt.Sprintf("u:%d", value)
	case realNumber.MatchString(token):
		value, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return "", false
		}
		number = "f:" + strconv.FormatFloat(value, 'g', -1, 64)
	case noNumber.MatchString(token):
	default:
		truth, ok := truths[token]
		if !ok {
			return "", false
		}
		number = fmt.Sprintf("b:%t", truth)
	}
	r.text = r.text[n:]
	return number, true
}

func (r *referenceLine) readString() (string, bool) {
	var value strings.Builder
	rest := r.text[1:]
	for {
		if rest == "" {
			return "", false // Only the opening quote's line is bad.
		}
		c := rest[0]
		rest = rest[1:]
		if c == '"' {
			break
		}
		if c == '\\' && rest != "" && (rest[0] == '"' || rest[0] == '\\') {
			c, rest = rest[0], rest[1:]
		}
		value.WriteByte(c)
	}
	r.text = rest
	if _, atEnd := lineEndOf(rest); !atEnd && !strings.HasPrefix(rest, ",") && !strings.HasPrefix(rest, " ") {
		return "", false
	}
	return fmt.Sprintf("s:%q", value.String()), true
}

// readTime reads spaces and a timestamp between them, up to the line's end.
func (r *referenceLine) readTime() bool {
	n := 0
	for {
		if _, atEnd := lineEndOf(r.text[n:]); atEnd {
			break
		}
		n++
	}
	rest := strings.Trim(r.text[:n], " ")
	if rest != "" {
		time, ok := new(big.Int).SetString(rest, 10)
		if !ok || !stampNumber.MatchString(rest) {
			return false
		}
		time.Mul(time, big.NewInt(r.unit))
		if time.Cmp(big.NewInt(timeMin)) < 0 || time.Cmp(big.NewInt(timeMax)) > 0 {
			return false
		}
		r.time = " @" + time.String()
	}
	r.text = r.text[n:]
	return true
}
