package rulefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/rules"
)

// TestFailingUnitTests: what is not as expected is told with its place and with what was found instead.
func TestFailingUnitTests(t *testing.T) {
	const file = "testdata/unit/failing_test.yaml"
	results, wrong := RunTests(file)
	if len(wrong) > 0 || len(results) != 1 {
		t.Fatalf("%v, %d results", wrong, len(results))
	}
	want := []string{
		`:8:10: at 500ms Overload is expected to be firing, is ok`,
		`:6:36: the input is no point: missing_field_value`,
		`:9:10: at 1s Overload{machine="m1"} is expected to be ok, is firing{machine="m1", ` +
			`severity="critical", unit="m1"}`,
		`:10:10: at 1s Overload{machine="m1"} is expected to be firing, is firing{machine="m1", ` +
			`severity="critical", unit="m1"} temperature = 96, not 97`,
		`:11:10: there is no alert "Overlord" (did you mean "Overload"?)`,
		`:12:10: there is no record "motor_10s"`,
		`:13:10: at 1s Overload{machine="m1"} is expected to be firing, is firing{machine="m1", ` +
			`severity="critical", unit="m1"} no value of temprature, not 96`,
		`:14:10: alert "Overload" has no label "machin" (did you mean "machine"?)`,
	}
	for i := range want {
		want[i] = file + want[i]
	}
	if !slices.Equal(results[0].Failures, want) {
		t.Errorf("failures are\n%s\nwant\n%s", strings.Join(results[0].Failures, "\n"), strings.Join(want,
			"\n"))
	}
}

func TestWrongUnitTestFiles(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		file := t.TempDir() + "/x_test.yaml"
		writeFile(t, file, text)
		_, wrong := RunTests(file)
		if len(wrong) != 1 || !strings.HasSuffix(wrong[0].Error(), want) {
			t.Errorf("%s\ngives %v, want %s", text, wrong, want)
		}
	}
	const head = "rule_files: [a.yaml]\ntests:\n  - name: n\n    input: m v=1 1\n    expect: [{"
	f("", "x_test.yaml: the file is empty")
	f("tests: []\n---\ntests: []\n", "3:1: a test file is one document, this is the second")
	f("rule_files: [a.yaml] # \xe4\n", "1:24: a byte that is not UTF-8 (save the file in that encoding)")
	f("groups: []\n", "1:1: this is a file of rules, not of tests (`culvert rules check` reads it)")
	f("tests: []\n", "1:1: the file names no rule_files")
	f("rule_files: [none.yaml]\ntests: []\n", "none.yaml: read rules: no such file or directory")
	f("rule_files: [a.yaml]\ntests: [{name: n, input: x}]\n", `2:10: test "n" expects nothing`)
	f("rule_files: [a.yaml]\ntest: []\n", `2:1: unknown key "test" of the file (did you mean "tests"?)`)
	f(head+"alert: A, state: ok}]\n", "the expectation has no at")
	f(head+"at: 1s, state: ok}]\n", "an expectation names an alert or a record")
	f(head+"at: 1s, alert: A}]\n", "the expectation has no state (states are ok, pending and firing)")
	f(head+"at: 1s, alert: A, state: on}]\n", `unknown state "on" (states are ok, pending and firing)`)
	f(head+"at: soon, alert: A, state: ok}]\n", `at is no time: "soon" (such as 1.5s, counted from 1970)`)
	f(head+"at: 1s, record: r, state: ok}]\n", "a record has no state")
	f(head+"at: 1s, alert: [A], state: ok}]\n", "alert is a list, want a plain value")
}

// TestUnitTestsOfOtherEditors: a byte order mark and CR LF do no harm.
func TestUnitTestsOfOtherEditors(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: v > 1}]}]\n")
	writeFile(t, dir+"/a_test.yaml", strings.ReplaceAll("\ufeffrule_files: [a.yaml]\ntests:\n  - name: n\n"+
		"    input: |\n      m v=2 1\n      m v=3 2\n"+
		"    expect: [{at: 1s, alert: A, state: firing, value: 2}]\n",
		"\n", "\r\n"))
	results, wrong := RunTests(dir + "/a_test.yaml")
	if len(wrong) > 0 || len(results) != 1 || len(results[0].Failures) > 0 {
		t.Errorf("%v, %v", wrong, results)
	}
}

// ethernet builds a frame with a UDP datagram.
func ethernet(payload string) []byte {
	frame := append(make([]byte, 12), 8, 0, 0x45, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(28+len(payload)))
	frame = append(frame, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 3, 4)
	frame = binary.BigEndian.AppendUint16(frame, uint16(8+len(payload)))
	return append(append(frame, 0, 0), payload...)
}

// pcapOf builds a pcap file of frames, one a second.
func pcapOf(frames ...[]byte) []byte {
	order := binary.LittleEndian
	file := append(order.AppendUint32(nil, 0xa1b2c3d4), 2, 0, 4, 0)
	file = order.AppendUint32(append(file, make([]byte, 12)...), 1) // Ethernet
	for i, frame := range frames {
		file = order.AppendUint32(order.AppendUint32(file, uint32(i+1)), 500)
		file = order.AppendUint32(order.AppendUint32(file, uint32(len(frame))), uint32(len(frame)))
		file = append(file, frame...)
	}
	return file
}

// TestCaptureThatEndsEarly: a file that ends behind the header of a packet is not taken for whole.
func TestCaptureThatEndsEarly(t *testing.T) {
	frame := ethernet("m v=1")
	file := pcapOf(frame, frame)
	for _, missing := range []int{1, len(frame), len(frame) + 1} {
		p := NewPlayer(emptySet(t))
		held, err := p.PlayCapture(bytes.NewReader(file[:len(file)-missing]))
		if !errors.Is(err, io.ErrUnexpectedEOF) || held.Datagrams != 1 {
			t.Errorf("without %d bytes: %v, %+v", missing, err, held)
		}
	}
	p := NewPlayer(emptySet(t))
	if held, err := p.PlayCapture(bytes.NewReader(file)); err != nil || held.Datagrams != 2 {
		t.Errorf("the whole file: %v, %+v", err, held)
	}
}

func emptySet(t *testing.T) *rules.Set {
	t.Helper()
	set, wrong := rules.Compile(nil)
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	return set
}

// Goal: a recording of lines holds the points that packets of these lines would. Method: strings with line
// ends, one that is never closed, and such lines at every place of a recording longer than one payload.
func TestLinesWithStringsOverLines(t *testing.T) {
	f := func(text string, points, rejected, line int) {
		t.Helper()
		p := NewPlayer(emptySet(t))
		held, err := p.PlayLines(strings.NewReader(text))
		if err != nil || p.Points != points || held.Rejected != rejected || held.First.Line != line {
			t.Errorf("%.40q, %d bytes: %v, %d points, %+v", text, len(text), err, p.Points, held)
		}
	}
	f("", 0, 0, 0)
	f("m v=1", 1, 0, 0)
	f("m s=\"a\nb\" 1\nm v=2 2\n", 2, 0, 0)
	f("m s=\"a\r\n\r\n\"\r\nm v=2 2\r\n", 2, 0, 0)
	f("m v=1\nm s=\"never closed\nm v=2\nm v=3", 3, 1, 2)
	const long = "m,host=a v=1 1\n"
	for _, before := range []int{0, 4000, 4360, 4368, 4369, 4370, 9000} {
		f(strings.Repeat(long, before)+"m s=\"a\nb\nc\" 1\n"+strings.Repeat(long, 9000), before+9001, 0, 0)
		f(strings.Repeat(long, before)+"m s=\"a\n"+strings.Repeat(long, 9000), before+9000, 1, before+1)
	}
	endless := "m v=1\nm s=\"" + strings.Repeat("x", lineMax)
	_, err := NewPlayer(emptySet(t)).PlayLines(strings.NewReader(endless))
	if err == nil || !strings.HasSuffix(err.Error(), "line 2 is longer than 65536 bytes") {
		t.Errorf("of a long line: %v", err)
	}
}

// TestPlayerFollowsTheCapture: packets arrive when they were recorded, whatever time their points have.
func TestPlayerFollowsTheCapture(t *testing.T) {
	groups, wrong := Parse("f",
		[]byte("groups: [{name: g, rules: [{alert: A, on: m, expr: v > 1, for: 1500ms}]}]"))
	set, more := rules.Compile(groups)
	if len(wrong)+len(more) > 0 {
		t.Fatal(wrong, more)
	}
	p := NewPlayer(set)
	var told []string
	p.OnAlert = func(a rules.Alert) { told = append(told, a.State) }
	file := pcapOf(ethernet("m v=2 7\nbad"), ethernet("m v=2 8"), ethernet("m v=0 9"))
	held, err := p.PlayCapture(bytes.NewReader(file))
	want := Recording{
		Bytes: true, Capture: true, Datagrams: 3, Rejected: 1, FirstIn: 1,
		First: Rejected{Line: 2, Column: 4, Reason: "missing_fields"},
	}
	if err != nil || held != want || strings.Join(told, " ") != "firing ok" || p.Points != 3 {
		t.Errorf("%v, %+v, want %+v; %d points, told %q", err, held, want, p.Points, told)
	}
}
