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
func ethernet(vlan, six bool, payload string) []byte {
	frame := make([]byte, 12)
	if vlan {
		frame = append(frame, 0x81, 0, 0, 7)
	}
	udp := binary.BigEndian.AppendUint16([]byte{1, 2, 3, 4}, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	if six {
		frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(udp)))
		return append(append(append(frame, 17, 64), make([]byte, 32)...), udp...)
	}
	frame = append(frame, 8, 0, 0x45, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(20+len(udp)))
	return append(append(frame, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2), append(udp, "pad"...)...)
}

// pcapOf builds a pcap file of frames, one a second.
func pcapOf(order binary.AppendByteOrder, magic uint32, frames ...[]byte) []byte {
	file := order.AppendUint32(nil, magic)
	file = append(file, make([]byte, 16)...)
	file = order.AppendUint32(file, linkEthernet)
	for i, frame := range frames {
		file = order.AppendUint32(file, uint32(i+1))
		file = order.AppendUint32(file, 500)
		file = order.AppendUint32(file, uint32(len(frame)))
		file = append(order.AppendUint32(file, uint32(len(frame))), frame...)
	}
	return file
}

func TestCapture(t *testing.T) {
	fragment := ethernet(false, false, "fragment")
	fragment[14+6] = 0x20
	frames := [][]byte{
		ethernet(false, false, "one"), ethernet(true, false, "two"), ethernet(false, true, "three"), fragment,
		{1, 2, 3}, make([]byte, 60), ethernet(false, false, "four"),
	}
	for _, file := range [][]byte{
		pcapOf(binary.LittleEndian, 0xa1b2c3d4, frames...), pcapOf(binary.BigEndian, 0xa1b23c4d, frames...),
	} {
		c, err := NewCapture(bytes.NewReader(file))
		if err != nil || !IsCapture(file) {
			t.Fatal(err)
		}
		var got []string
		var last Packet
		for {
			p, err := c.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
			got, last = append(got, string(p.Payload)), p
		}
		if s := strings.Join(got, " "); s != "one two three four" || c.Skipped != 3 {
			t.Errorf("payloads are %q, %d skipped", s, c.Skipped)
		}
		if last.Time != 7e9+500*c.scale {
			t.Errorf("the last packet came at %d", last.Time)
		}
	}
}

// TestCaptureOfOtherLinks: what tcpdump writes of Linux' "any" interface, before 4.99 and since, and of links
// without a header.
func TestCaptureOfOtherLinks(t *testing.T) {
	packet := ethernet(false, false, "m v=1")[14:]
	six := ethernet(false, true, "m v=6")[14:]
	cooked := append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, 8, 0)
	cooked2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 2}, make([]byte, 12)...)
	tagged := append([]byte{0x81, 0, 0, 0, 0, 0, 0, 2}, append(make([]byte, 12), 0, 7, 8, 0)...)
	arp := append([]byte{8, 6}, make([]byte, 46)...)
	f := func(link byte, high byte, want string, skipped int, frames ...[]byte) {
		t.Helper()
		file := pcapOf(binary.LittleEndian, 0xa1b2c3d4, frames...)
		file[20], file[21] = link, high
		c, err := NewCapture(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			p, err := c.Next()
			if err != nil {
				break
			}
			got = append(got, string(p.Payload))
		}
		if s := strings.Join(got, ";"); s != want || c.Skipped != skipped {
			t.Errorf("link %d: payloads are %q, %d skipped", link, s, c.Skipped)
		}
	}
	f(linkCooked, 0, "m v=1", 1, append(cooked, packet...), cooked[:15])
	f(linkCooked2&0xff, linkCooked2>>8, "m v=1;m v=1", 2, append(cooked2, packet...),
		append(tagged, packet...),
		arp, cooked2[:19])
	f(linkRaw, 0, "m v=1;m v=6", 1, packet, six, nil)
	f(linkIPv4, 0, "m v=1", 0, packet)
	f(linkIPv6, 0, "m v=6", 0, six)
}

// TestCaptureThatEndsEarly: a file that ends behind the header of a packet is not taken for whole.
func TestCaptureThatEndsEarly(t *testing.T) {
	frame := ethernet(false, false, "m v=1")
	file := pcapOf(binary.LittleEndian, 0xa1b2c3d4, frame, frame)
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

// FuzzCapture reads arbitrary files: no panic, and payloads lie within them.
func FuzzCapture(f *testing.F) {
	f.Add(pcapOf(binary.LittleEndian, 0xa1b2c3d4, ethernet(true, false, "x"), ethernet(false, true, "y")))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := NewCapture(bytes.NewReader(file))
		if err != nil {
			return
		}
		total := 0
		for {
			p, err := c.Next()
			if err != nil {
				break
			}
			total += len(p.Payload)
		}
		if total > len(file) {
			t.Errorf("%d bytes of payload in a file of %d", total, len(file))
		}
	})
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
	file := pcapOf(binary.LittleEndian, 0xa1b2c3d4, ethernet(false, false, "m v=2 7\nbad"),
		ethernet(false, false, "m v=2 8"), ethernet(false, false, "m v=0 9"))
	held, err := p.PlayCapture(bytes.NewReader(file))
	want := Recording{
		Bytes: true, Capture: true, Datagrams: 3, Rejected: 1, FirstIn: 1,
		First: Rejected{Line: 2, Column: 4, Reason: "missing_fields"},
	}
	if err != nil || held != want || strings.Join(told, " ") != "firing ok" || p.Points != 3 {
		t.Errorf("%v, %+v, want %+v; %d points, told %q", err, held, want, p.Points, told)
	}
}
