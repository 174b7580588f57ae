package wire

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"culvert/dataplane/lineproto"
)

// Alert is one change of one alert's state.
type Alert struct {
	Rule                string
	Firing              bool
	Labels, Annotations map[string]string
	Time, Since         int64  // of the change, and of its beginning: nanoseconds since 1970, event time
	Reason              string // (optional) why it ended where no point ended it
	Fingerprint         string
}

// Format is how an alert is written.
type Format uint8

// The formats, described in docs/notifications.md.
const (
	JSON Format = iota
	Line
)

// TextMax is the longest text of a UDP datagram over IPv4, in bytes.
const TextMax = 65507

// Append appends the alert in a format, with a line feed at its end. If it would be longer than most bytes it
// is written without its annotations; that it fits then is for the caller to see.
func (f Format) Append(dst []byte, a *Alert, most int) []byte {
	write := a.AppendJSON
	if f == Line {
		write = a.AppendLine
	}
	begin := len(dst)
	dst = write(dst, true)
	if len(dst)-begin > most {
		dst = write(dst[:begin], false)
	}
	return dst
}

func state(firing bool) string {
	if firing {
		return "firing"
	}
	return "resolved"
}

// AppendJSON appends one line of JSON. Without annotations it says that it was truncated.
func (a *Alert) AppendJSON(dst []byte, annotations bool) []byte {
	dst = append(dst, `{"version":1,"rule":`...)
	dst = appendJSONText(dst, a.Rule)
	dst = append(dst, `,"state":"`...)
	dst = append(dst, state(a.Firing)...)
	dst = append(dst, `","time":"`...)
	dst = time.Unix(0, a.Time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","since":"`...)
	dst = time.Unix(0, a.Since).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	if a.Reason != "" {
		dst = append(dst, `,"reason":`...)
		dst = appendJSONText(dst, a.Reason)
	}
	dst = append(dst, `,"fingerprint":`...)
	dst = appendJSONText(dst, a.Fingerprint)
	dst = append(dst, `,"labels":`...)
	dst = appendJSONMap(dst, a.Labels)
	switch {
	case !annotations:
		dst = append(dst, `,"truncated":true`...)
	case len(a.Annotations) > 0:
		dst = append(dst, `,"annotations":`...)
		dst = appendJSONMap(dst, a.Annotations)
	}
	return append(dst, "}\n"...)
}

func appendJSONMap(dst []byte, values map[string]string) []byte {
	var room [namesRoom]string
	dst = append(dst, '{')
	for i, name := range sorted(values, room[:0]) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONText(dst, name)
		dst = append(dst, ':')
		dst = appendJSONText(dst, values[name])
	}
	return append(dst, '}')
}

// namesRoom is how many labels or annotations are sorted without allocating; more are, too.
const namesRoom = 16

// sorted are the names in their order, in the room that is given where it suffices.
func sorted(values map[string]string, room []string) []string {
	for name := range values {
		room = append(room, name)
	}
	slices.Sort(room)
	return room
}

// appendJSONText quotes a text. Bytes that are no UTF-8 become U+FFFD, which is what JSON can say of them.
func appendJSONText(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// Measurement is that of alerts in Line Protocol.
const Measurement = "culvert_alert"

// AppendLine appends one line of Line Protocol: the labels are its tags, and its time is that of the change.
func (a *Alert) AppendLine(dst []byte, annotations bool) []byte {
	var room [namesRoom]string
	dst = append(dst, Measurement...)
	dst = appendTag(dst, "alertname", a.Rule)
	for _, name := range sorted(a.Labels, room[:0]) {
		if name != "alertname" {
			dst = appendTag(dst, name, a.Labels[name])
		}
	}
	dst = append(dst, ` firing=`...)
	dst = strconv.AppendBool(dst, a.Firing)
	dst = append(dst, `,state="`...)
	dst = append(dst, state(a.Firing)...)
	dst = append(dst, `",since=`...)
	dst = strconv.AppendInt(dst, a.Since, 10)
	dst = append(dst, `i,fingerprint=`...)
	dst = appendField(dst, a.Fingerprint)
	if a.Reason != "" {
		dst = append(dst, `,reason=`...)
		dst = appendField(dst, a.Reason)
	}
	if annotations {
		for _, name := range sorted(a.Annotations, room[:0]) {
			name, _ := writable(name, "x")
			dst = append(dst, ",annotation_"...)
			dst = appendWord(dst, name)
			dst = append(dst, '=')
			dst = appendField(dst, a.Annotations[name])
		}
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, a.Time, 10)
	return append(dst, '\n')
}

// appendTag appends a tag, or nothing for one without a value: Line Protocol has no empty ones.
func appendTag(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	name, value = writable(name, value)
	dst = append(dst, ',')
	dst = appendWord(dst, name)
	dst = append(dst, '=')
	return appendWord(dst, value)
}

// writable is a tag as Line Protocol can say it: it has no way to write control characters, nor a backslash
// where it would be read as an escape. Those are replaced.
func writable(name, value string) (string, string) {
	if plain(name) && plain(value) || lineproto.ValidTag(name, value) {
		return name, value
	}
	replace := func(text string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r == '\\':
				return '/'
			case unicode.IsControl(r):
				return '_'
			}
			return r
		}, strings.ToValidUTF8(text, "_"))
	}
	return replace(name), replace(value)
}

// plain tells of most texts at a glance that Line Protocol has a way to write them.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return text != ""
}

// appendWord escapes a tag's name or value, or a field's name.
func appendWord(dst []byte, word string) []byte {
	for i := range len(word) {
		if c := word[i]; c == ',' || c == '=' || c == ' ' {
			dst = append(dst, '\\')
		}
		dst = append(dst, word[i])
	}
	return dst
}

// appendField quotes a field's text. A line feed is replaced: receivers split what they read at line feeds.
func appendField(dst []byte, text string) []byte {
	text = strings.ToValidUTF8(text, "_")
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n', '\r':
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
