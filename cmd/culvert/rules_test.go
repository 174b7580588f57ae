package main

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// writer makes a folder, and a function that writes a file into it and returns its path.
func writer(t *testing.T) (dir string, write func(name, text string) string) {
	t.Helper()
	dir = t.TempDir()
	return dir, func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// TestRulesCommands runs the offline commands on the examples and on small files, with their exit codes.
func TestRulesCommands(t *testing.T) {
	dir, write := writer(t)
	const examples = "../../docs/examples/rules/"
	good := write("good.yaml", `groups:
  - name: g
    rules:
      - {alert: Hot, on: motor, expr: temperature > 95, by: [machine], for: 1s}
      - {record: r, on: motor, every: 1s, by: [machine], fields: {n: "count(temperature[1s])"}}
      - {drop: {on: debug}}
`)
	wrong := write("wrong.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: x >}]}]\n")
	failing := write("failing_test.yaml",
		"rule_files: [good.yaml]\ntests:\n  - name: n\n    input: m v=1 1\n"+
			"    expect: [{at: 1s, alert: Hot, state: firing}]\n")
	points := write("points.lp",
		"motor,machine=a temperature=96 1000000000\nbad\nmotor,machine=a temperature=96 3000000000\n")
	f := func(code int, want string, arguments ...string) {
		t.Helper()
		var out, diagnostics bytes.Buffer
		if got := execute(append([]string{"rules"}, arguments...), &out, &diagnostics); got != code {
			t.Errorf("%q ends with %d, want %d: %s", arguments, got, code, diagnostics.String())
		}
		if all := out.String() + diagnostics.String(); !strings.Contains(all, want) {
			t.Errorf("%q says\n%s\nwant %s", arguments, all, want)
		}
	}
	f(0, "1 alerts, 1 records and 1 filters are right.", "check", good)
	f(78, "wrong.yaml:1:55: expression ends where a value is expected\n", "check", wrong)
	f(78, "no such file", "check", filepath.Join(dir, "none.yaml"))
	f(2, "requires at least 1 arg", "check")
	f(2, "no command is given", []string{}...)
	f(0, "ok   one point is enough\n", "test", examples+"overload_test.yaml", examples+"sequence_test.yaml")
	report := filepath.Join(dir, "junit.xml")
	f(1, "test rules: 1 of 1 tests failed", "test", failing, "--junit", report)
	if text, err := os.ReadFile(report); err != nil || !strings.Contains(string(text), `failures="1"`) ||
		!strings.Contains(string(text), "at 1s Hot is expected to be firing, is ok") {
		t.Errorf("%v: the report is %s", err, text)
	}
	f(0, "true\n", "eval", `temperature > 95 && tags.line == "a"`, "--line", "motor,line=a temperature=96")
	f(0, "48.25\n", "eval", "temperature / 2", "--line", "motor,line=a temperature=96.5")
	f(0, "null\n", "eval", "none + 1", "--line", "motor,line=a temperature=96.5")
	f(0, "\"a\"\n", "eval", "tags.line", "--line", "motor,line=a temperature=96.5")
	f(0, "\"NaN\"\n", "eval", "sqrt(x)", "--line", "m x=-1")
	f(78, "EXPR:1:5: avg looks at the past", "eval", "1 + avg(x[10s])", "--line", "m x=1")
	f(2, "the line is no point", "eval", "x", "--line", "m")
	f(0, `{"time":"1970-01-01T00:00:02Z","alert":"Hot","state":"firing"`, "replay", good, "--input", points)
	f(0, `"record":"r","tags":{"machine":"a"},"fields":{"n":1}}`, "replay", good, "--input", points,
		"--after", "10m")
	f(0, `"state":"ok","reason":"stale"`, "replay", good, "--input", points, "--after", "10m")
	f(0, "points.lp: 2 points; 1 line rejected, the first is line 2: missing_fields at column 4\n", "replay",
		good, "--input", points)
	f(2, "time does not go back", "replay", good, "--input", points, "--after", "-1s")
	f(2, "one line is wanted", "eval", "x", "--line", "m x=1\nm x=2")
	f(1, "no such file", "replay", good, "--input", filepath.Join(dir, "none.lp"))
	milliseconds := write("milliseconds.lp",
		"motor,machine=a temperature=96 1000\nmotor,machine=a temperature=96 3000\n")
	f(0, `{"time":"1970-01-01T00:00:02Z","alert":"Hot","state":"firing"`, "replay", good, "--input",
		milliseconds,
		"--precision", "ms")
	f(2, `--precision is "m", want ns, us, ms or s`, "replay", good, "--input", milliseconds,
		"--precision", "m")
	f(0, "\"<&>\"\n", "eval", "s", "--line", `m s="<&>"`)
	f(0, "2 alerts, 0 records and 0 filters are right.", "check", examples+"overload.yaml",
		examples+"overload_test.yaml", examples+"silent.yaml")
	f(78, "`culvert rules test` runs it", "check", examples+"overload_test.yaml")
	f(78, "2 mistakes", "check", wrong, write("unknown.yaml", "group: []\n"))
	f(0, "test temperature with 95.0: if less or equal or none of these go to 3", "explain",
		examples+"overload.yaml")
	f(0, "memo 0: moments of vibration[10000000000:1000000000], 296 bytes: 10 panes of 1s", "explain",
		examples+"bearing.yaml")
	f(0, "chained.yaml:1:107: the points that record \"r\" makes meet no rules (this one sees what others "+
		"send)\n", "check", write("chained.yaml", "groups: [{name: g, rules: [{record: r, on: m, every: 1s, "+
		"fields: {n: 'count(x[1s])'}}, {alert: A, on: [q, r], expr: n > 1}]}]\n"))
	nothing := write("nothing.yaml", "# no rule yet\n")
	f(0, "no rule is in "+nothing, "check", nothing)
	f(0, "no test is in", "test", write("nothing_test.yaml", "rule_files: [good.yaml]\n"))

	// What holds no point is said to, with what it holds instead.
	for _, odd := range []struct{ name, text, want string }{
		{"empty.lp", "", "holds no point: it is empty"},
		{"blank.lp", "# a\n\n", "holds no point: it is blank"},
		{"bad.lp", "a\n\nb c\n",
			"holds no point; 2 lines rejected, the first is line 1: missing_fields at column 2"},
		{"points.lp.gz", "\x1f\x8b\x08\x00", "is compressed by gzip"},
		{"long.lp", strings.Repeat("x", 70_000), "line 1 is longer than 65536 bytes"},
		{"capture.pcap", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 12) +
			"\x01\x00\x00\x00" + strings.Repeat("\x00", 8) + "\x02\x00\x00\x00\x02\x00\x00\x00ab",
			"holds no point in 0 UDP datagrams; 1 packet without a whole UDP datagram"},
		{"short.pcap", "\xd4\xc3\xb2\xa1", "read capture's header"},
	} {
		f(1, odd.want, "replay", good, "--input", write(odd.name, odd.text))
	}
	f(1, "is a directory", "replay", good, "--input", dir)
	f(0, `{"time":"1970-01-01T00:00:08Z","alert":"Hot","state":"firing"`, "replay", good, "--input",
		pcapng(t, dir, "motor,machine=a temperature=96", "motor,machine=a temperature=96"))
	// What a terminal would obey is not passed on to it.
	f(78, "\n    ·[2J: 1\n", "check", write("steering.yaml", "\x1b[2J: 1\n"))
}

// pcapng writes a capture of datagrams, the first at 7 s, one a second, as dumpcap does.
func pcapng(t *testing.T, dir string, payloads ...string) string {
	t.Helper()
	path := filepath.Join(dir, "capture.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := pcapgo.NewNgWriter(file, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, payload := range payloads {
		frame := append(make([]byte, 12), 8, 0, 0x45, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(28+len(payload)))
		frame = append(frame, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 3, 4)
		frame = binary.BigEndian.AppendUint16(frame, uint16(8+len(payload)))
		frame = append(append(frame, 0, 0), payload...)
		about := gopacket.CaptureInfo{Timestamp: time.Unix(int64(7+i), 0), CaptureLength: len(frame),
			Length: len(frame)}
		if err := w.WritePacket(about, frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Goal: one file that is wrong does not hide the tests of others, and the report for a CI server is whole in
// any case. Method: a file of tests that fails, with a name that XML has to escape, one whose rules are
// wrong, and one that passes; the report is read back.
func TestReportOfUnitTests(t *testing.T) {
	dir, write := writer(t)
	write("good.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: v > 1}]}]\n")
	write("wrong.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: v >}]}]\n")
	const test = "tests:\n  - name: '<\"it\"> & \u00fc'\n    input: m v=1 1\n" +
		"    expect: [{at: 1s, alert: A, state: firing}, {at: 2s, alert: A, state: %s}]\n"
	failing := write("a_test.yaml", "rule_files: [good.yaml]\n"+strings.ReplaceAll(test, "%s", "pending"))
	wrong := write("b_test.yaml", "rule_files: [wrong.yaml]\n"+strings.ReplaceAll(test, "%s", "ok"))
	passing := write("c_test.yaml", "rule_files: [good.yaml]\ntests:\n  - name: n\n    input: m v=2 1\n"+
		"    expect: [{at: 1s, alert: A, state: firing}]\n")
	junit := filepath.Join(dir, "junit.xml")
	f := func(code int, want string, files ...string) (report testReport) {
		t.Helper()
		var out, diagnostics bytes.Buffer
		arguments := append([]string{"rules", "test", "--junit", junit}, files...)
		if got := execute(arguments, &out, &diagnostics); got != code {
			t.Errorf("%q ends with %d, want %d: %s", files, got, code, diagnostics.String())
		}
		if all := out.String() + diagnostics.String(); !strings.Contains(all, want) {
			t.Errorf("%q says\n%s\nwant %s", files, all, want)
		}
		text, err := os.ReadFile(junit)
		if err == nil {
			err = xml.Unmarshal(text, &report)
		}
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	report := f(1, "test rules: 1 of 2 tests failed", failing, passing)
	if report.Tests != 2 || report.Failures != 1 || report.Errors != 0 || len(report.Suites) != 2 ||
		report.Suites[0].Cases[0].Name != `<"it"> & ü` ||
		!strings.Contains(report.Suites[0].Cases[0].Failure.Text,
			"at 2s A is expected to be pending, is ok") {
		t.Errorf("the report is %+v", report)
	}
	report = f(78, "read rules: 1 mistake; test rules: 1 of 2 tests failed\n", wrong, failing, passing)
	if report.Tests != 3 || report.Errors != 1 || len(report.Suites) != 3 ||
		!strings.HasSuffix(report.Suites[0].Cases[0].Error.Message,
			"wrong.yaml:1:55: expression ends where a value is expected") {
		t.Errorf("the report is %+v", report)
	}
	if report = f(0, "ok   n\n", passing); report.Tests != 1 || report.Failures+report.Errors != 0 {
		t.Errorf("the report is %+v", report)
	}
}
