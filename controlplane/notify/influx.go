package notify

import (
	"context"
	"strconv"
	"strings"
	"unicode"

	"culvert/dataplane/lineproto"
)

const (
	// influxBatchMax bounds the points of one POST: some 300 KiB.
	influxBatchMax = 1000
	// measurement is that of the points.
	measurement = "culvert_alert"
)

// influx writes each change as a point.
type influx struct{ poster }

func newInflux(c Config, url string) (*influx, error) {
	p, err := newPoster(url, c.Authorization, "text/plain; charset=utf-8")
	return &influx{p}, err
}

func (i *influx) batchMax() int             { return influxBatchMax }
func (i *influx) together(_, _ *Alert) bool { return true }

func (i *influx) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	var body []byte
	for _, c := range batch {
		body = c.appendLine(body, true)
	}
	return i.post(ctx, body, wired)
}

// appendLine appends the alert as a line of Line Protocol, described in docs/notifications.md: its labels are
// the tags, and its time is that of the change.
func (a *Alert) appendLine(line []byte, annotations bool) []byte {
	line = append(line, measurement...)
	labels := withName(a)
	for _, name := range sortedKeys(labels) {
		if value := labels[name]; value != "" {
			name, value = writable(name, value)
			line = append(line, ',')
			line = appendWord(line, name)
			line = append(line, '=')
			line = appendWord(line, value)
		}
	}
	line = append(line, ` firing=`...)
	line = strconv.AppendBool(line, a.Firing)
	line = append(line, `,state=`...)
	line = appendText(line, a.state())
	line = append(line, `,since=`...)
	line = strconv.AppendInt(line, a.Since.UnixNano(), 10)
	line = append(line, `i,fingerprint=`...)
	line = appendText(line, a.Fingerprint)
	if a.Reason != "" {
		line = append(line, `,reason=`...)
		line = appendText(line, a.Reason)
	}
	if annotations {
		for _, name := range sortedKeys(a.Annotations) {
			field, _ := writable("annotation_"+name, "x")
			line = append(line, ',')
			line = appendWord(line, field)
			line = append(line, '=')
			line = appendText(line, a.Annotations[name])
		}
	}
	line = append(line, ' ')
	line = strconv.AppendInt(line, a.Time.UnixNano(), 10)
	return append(line, '\n')
}

// writable is a tag as Line Protocol can say it: it has no way to write control characters, nor a backslash
// where it would be read as an escape. Those are replaced.
func writable(name, value string) (string, string) {
	if lineproto.ValidTag(name, value) {
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

// appendWord escapes a tag's name or value, or a field's name.
func appendWord(line []byte, word string) []byte {
	for i := range len(word) {
		if c := word[i]; c == ',' || c == '=' || c == ' ' {
			line = append(line, '\\')
		}
		line = append(line, word[i])
	}
	return line
}

// appendText quotes a field's text. A line feed is replaced: receivers split what they read at line feeds.
func appendText(line []byte, text string) []byte {
	text = strings.ToValidUTF8(text, "_")
	line = append(line, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			line = append(line, '\\', c)
		case '\n', '\r':
			line = append(line, ' ')
		default:
			line = append(line, c)
		}
	}
	return append(line, '"')
}
