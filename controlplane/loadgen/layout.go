package loadgen

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultTemplate has every kind of value that InfluxDB 1.x takes.
const DefaultTemplate = "plant"

type template struct{ name, text string }

// Placeholders stand for values of fixed width, so that a line never moves once it is laid out:
//
//	{series} number of the series, with leading zeros     {group} two digits that follow from the series
//	{temperature} 20.00–94.99, or above 95 as AlertShare says
//	{float} 100.000–999.999   {int} 1000–9999   {bool} t or f   {word} idle, busy, stop or wait
var templates = [...]template{
	{DefaultTemplate, `plant,line=l{group},sensor=s{series} ` +
		`temperature={temperature},pressure={float},rpm={int}i,ok={bool},state="{word}"`},
	{"short", `m,s={series} temperature={temperature}`},
	{"wide", `machine,area=a{group},cell=c{group},plant=north,sensor=s{series} temperature={temperature},` +
		`a={float},b={float},c={float},d={float},e={int}i,f={int}i,g={int}i,h={int}i,i={bool},j={bool},` +
		`text="{word}, \"{word}\" = {word}"`},
	{"escapes", `big\ plant,li\,ne=l\=\ {group},sen\ sor=s{series} tempera\ ture={float},` +
		`temperature={temperature},text="{word} \\ \"{word}\""`},
}

// slotKind is what a placeholder stands for.
type slotKind uint8

const (
	slotSeries slotKind = iota
	slotGroup
	slotTemperature
	slotFloat
	slotInt
	slotBool
	slotWord
	slotStamp
	slotSequence
)

// A sequence number is one integer: a 1, the flow in four digits, the point's number in its flow, from 0 on,
// in thirteen. It has no leading zeros, which some parsers refuse, and is below 2⁶³.
const (
	sequenceField   = "seq"
	sequenceWidth   = 17
	sequencesOfFlow = 1e13
)

// slot is a place in the line that is written anew for every point.
type slot struct {
	kind          slotKind
	offset, width int
}

// layout is one line: its bytes, as of the first series, and the slots in it.
type layout struct {
	line  []byte
	slots []slot
}

var slotNames = [...]struct {
	name  string
	width int // 0: as wide as the series need
}{
	slotSeries: {"series", 0}, slotGroup: {"group", 2}, slotTemperature: {"temperature", 5},
	slotFloat: {"float", 7}, slotInt: {"int", 4}, slotBool: {"bool", 1}, slotWord: {"word", 4},
}

// newLayout reads a template. Timestamps, if wanted, are as long as today's are in this unit.
func newLayout(text string, series int, unit time.Duration, stamped, sequenced bool) (layout, error) {
	text, err := findTemplate(text)
	if err != nil {
		return layout{}, err
	}
	var l layout
	add := func(kind slotKind, width int) {
		l.slots = append(l.slots, slot{kind, len(l.line), width})
		image := strings.Repeat("0", width)
		switch kind {
		case slotTemperature:
			image = "00.00"
		case slotFloat:
			image = "000.000"
		}
		l.line = append(l.line, image...)
	}
	numbered := false
	for {
		before, rest, found := strings.Cut(text, "{")
		l.line = append(l.line, before...)
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return layout{}, fmt.Errorf("template: {%s is not closed", name)
		}
		kind, width, err := findSlot(name, series)
		if err != nil {
			return layout{}, err
		}
		numbered = numbered || kind == slotSeries
		add(kind, width)
		text = after
	}
	if !numbered && series > 1 {
		return layout{}, fmt.Errorf("template lacks {series}, so its %d series would be one", series)
	}
	if sequenced {
		l.line = append(l.line, ","+sequenceField+"=1"...)
		add(slotSequence, sequenceWidth)
		l.line = append(l.line, 'i')
	}
	if stamped {
		l.line = append(l.line, ' ')
		add(slotStamp, len(strconv.FormatInt(time.Now().UnixNano()/int64(unit), 10)))
	}
	l.line = append(l.line, '\n')
	return l, nil
}

func findTemplate(name string) (string, error) {
	if name == "" {
		name = DefaultTemplate
	}
	if isText(name) {
		if strings.Contains(name, "\n") {
			return "", errors.New("template holds a line feed: it is one line")
		}
		return name, nil
	}
	names := make([]string, 0, len(templates))
	for _, t := range templates {
		if t.name == name {
			return t.text, nil
		}
		names = append(names, t.name)
	}
	return "", fmt.Errorf("template %q, want one of %s, or a line with placeholders", name,
		strings.Join(names, ", "))
}

func findSlot(name string, series int) (slotKind, int, error) {
	names := make([]string, 0, len(slotNames))
	for kind, s := range slotNames {
		if s.name == name {
			if s.width == 0 {
				return slotKind(kind), len(strconv.Itoa(series - 1)), nil
			}
			return slotKind(kind), s.width, nil
		}
		names = append(names, "{"+s.name+"}")
	}
	return 0, 0, fmt.Errorf("template: unknown {%s}, want one of %s", name, strings.Join(names, " "))
}
