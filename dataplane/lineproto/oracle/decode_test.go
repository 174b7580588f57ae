package oracle

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// content is what a line says, in a form that compares: tags and fields sorted, the last of each field.
type content struct {
	measurement string
	tags        []string
	fields      []string
	time        int64
	hasTime     bool
}

func (c *content) String() string {
	when := "no time"
	if c.hasTime {
		when = fmt.Sprint("time ", c.time)
	}
	return fmt.Sprintf("%q %q %q %s", c.measurement, c.tags, c.fields, when)
}

// sorted puts tags and fields in order, and keeps the last of fields of one name.
func (c *content) sorted(fields map[string]string) {
	for name, value := range fields {
		c.fields = append(c.fields, fmt.Sprintf("%q=%s", name, value))
	}
	slices.Sort(c.fields)
	slices.Sort(c.tags)
}

func (c *content) equal(other *content) bool {
	return c.measurement == other.measurement && slices.Equal(c.tags, other.tags) &&
		slices.Equal(c.fields, other.fields) && c.hasTime == other.hasTime && c.time == other.time
}

func showFloat(value float64) string { return "float:" + strconv.FormatFloat(value, 'g', -1, 64) }

func showString(text string) string { return fmt.Sprintf("string:%q", stringEscapes(text)) }

// reading is what Culvert made of a payload, up to the first line that it rejected.
type reading struct {
	points []content
	// texts are the payload in parts: up to the end of each point's fields, and the rest.
	texts    []string
	rejected string // the bad line, if there is one
	because  lineproto.Reason
}

func ours(payload string, precision lineproto.Precision) (r reading) {
	var d lineproto.Decoder
	var p point.Point
	from := 0
	r.because = lineproto.Reasons
	for d.Start([]byte(payload), precision, &p); ; {
		outcome := d.Next(&p)
		if outcome != lineproto.OK {
			if outcome == lineproto.Rejected {
				r.rejected, r.because = string(p.Bytes(d.Line())), d.Reason()
			}
			r.texts = append(r.texts, payload[from:])
			return r
		}
		r.points = append(r.points, contentOf(&p))
		r.texts = append(r.texts, payload[from:p.FieldSet.End()])
		from = p.FieldSet.End()
	}
}

func contentOf(p *point.Point) content {
	c := content{measurement: string(p.Bytes(p.Measurement)), time: p.Time, hasTime: p.HasTime}
	for _, tag := range p.Tags {
		c.tags = append(c.tags, fmt.Sprintf("%q=%q", p.Bytes(tag.Name), p.Bytes(tag.Value)))
	}
	fields := map[string]string{}
	for i := range p.Fields {
		f := &p.Fields[i]
		name := string(p.Bytes(f.Name))
		switch f.Kind {
		case point.Float:
			fields[name] = showFloat(p.Float(f))
		case point.Int:
			fields[name] = fmt.Sprintf("int:%d", p.Int(f))
		case point.Uint:
			fields[name] = fmt.Sprintf("uint:%d", p.Uint(f))
		case point.Bool:
			fields[name] = fmt.Sprintf("bool:%t", p.Bool(f))
		case point.String:
			fields[name] = showString(string(p.Bytes(f.Value)))
		}
	}
	c.sorted(fields)
	return c
}

// theirs reads a payload by the library, up to its first error.
func theirs(payload string, precision lineproto.Precision) (points []content, err error) {
	d := lineprotocol.NewDecoderWithBytes([]byte(payload))
	for d.Next() {
		c, err := theirLine(d, precision)
		if err != nil {
			return points, err
		}
		points = append(points, c)
	}
	return points, nil
}

func theirLine(d *lineprotocol.Decoder, precision lineproto.Precision) (content, error) {
	name, err := d.Measurement()
	c := content{measurement: string(name)}
	for err == nil {
		var name, value []byte
		if name, value, err = d.NextTag(); name == nil {
			break
		}
		c.tags = append(c.tags, fmt.Sprintf("%q=%q", name, value))
	}
	fields := map[string]string{}
	for err == nil {
		var name []byte
		var value lineprotocol.Value
		if name, value, err = d.NextField(); name == nil {
			break
		}
		switch value.Kind() {
		case lineprotocol.Float:
			fields[string(name)] = showFloat(value.FloatV())
		case lineprotocol.String:
			fields[string(name)] = showString(value.StringV())
		default:
			fields[string(name)] = fmt.Sprintf("%s:%v", value.Kind(), value.Interface())
		}
	}
	if err != nil {
		return c, err
	}
	// A time that no payload can hold in this precision stands for none.
	none := time.Unix(0, -1<<63)
	at, err := d.Time(theirPrecision(precision), none)
	if !at.Equal(none.Truncate(theirPrecision(precision).Duration())) {
		c.time, c.hasTime = at.UnixNano(), true
	}
	c.sorted(fields)
	return c, err
}

func theirPrecision(precision lineproto.Precision) lineprotocol.Precision {
	return map[lineproto.Precision]lineprotocol.Precision{
		lineproto.Nanosecond: lineprotocol.Nanosecond, lineproto.Microsecond: lineprotocol.Microsecond,
		lineproto.Millisecond: lineprotocol.Millisecond, lineproto.Second: lineprotocol.Second,
	}[precision]
}

// compare reads a payload by both, and returns the names of the differences that it shows, if any.
func compare(t *testing.T, payload string, precision lineproto.Precision) (shown []string) {
	t.Helper()
	mine := ours(payload, precision)
	other, err := theirs(payload, precision)
	n := min(len(mine.points), len(other))
	for i := range n {
		if !mine.points[i].equal(&other[i]) {
			t.Fatalf("%q: line %d is %s, the library says %s", payload, i, &mine.points[i], &other[i])
		}
	}
	accepted, otherAccepted := mine.because == lineproto.Reasons, err == nil
	if accepted == otherAccepted && len(mine.points) == len(other) {
		return nil
	}
	if more := len(mine.points) > n; more || accepted && len(other) == n {
		for _, difference := range differences {
			if difference.accepts != nil && difference.accepts(mine.texts[n]) {
				shown = append(shown, difference.name)
			}
		}
		if shown == nil {
			t.Fatalf("%q: line %d is taken, the library says %v", payload, n, err)
		}
		return shown
	}
	for _, difference := range differences {
		if difference.rejects != nil && difference.rejects(mine.because, mine.rejected) {
			shown = append(shown, difference.name)
		}
	}
	if shown == nil {
		t.Fatalf("%q: line %d is rejected, %s; the library reads on: %v", payload, n, mine.because, other[n:])
	}
	return shown
}
