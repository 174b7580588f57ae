package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// Goal: check says what run would do on this machine, and touches nothing. Method: a configuration with
// everything, both queues and the rule named in the plan, no program on the interface.
func TestPrivCheckPrintsThePlan(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	config := configureAlerts(t, lab, "http://127.0.0.1:8086", "        actions: [plc]\n",
		`{name: plc, type: udp, address: "10.88.0.9:7000", via: xdp, limit: 0}, `+
			`{name: far, type: udp, address: "127.0.0.1:7000", via: xdp}`)
	code, output := once(t, lab, "check", "-c", config)
	if code != 0 || xdpOf(t, lab) {
		t.Fatalf("exit code %d, a program attached: %t, %q", code, xdpOf(t, lab), output)
	}
	for _, want := range []string{
		`is right`, `gw0 +0 +\d`, `gw0 +1 +\d`, `kernel .*slow path`,
		`plant +8089 +the interface's own +ns +all`,
		`main +http://127.0.0.1:8086 +v1 +- +none +1MiB or 10000 points +3 attempts`, `Hot +motor +plc`,
		`plc +udp +TX rings of gw0 +none`, `far +udp +kernel +1000/s`,
		`warning: notifier "far" is via xdp, but its alerts leave by the kernel's socket: 127.0.0.1 is not`,
		`warning: listener "plant" takes packets from everyone`,
	} {
		if !regexp.MustCompile(want).MatchString(output) {
			t.Fatalf("the plan does not say %q:\n%s", want, output)
		}
	}
}

// Goal: every mistake is reported at its place, in check as in run, with the code for a wrong configuration.
// Method: three files, each wrong in its own way.
func TestPrivMistakesHavePlaces(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	dir := t.TempDir()
	good := minimal(lab.GatewayInterface, "http://127.0.0.1:8086")
	f := func(file, text string, wants ...string) {
		t.Helper()
		path := write(t, dir, file, text)
		for _, command := range []string{"check", "run"} {
			code, output := once(t, lab, command, "-c", path)
			if code != 78 || xdpOf(t, lab) {
				t.Fatalf("%s %s: exit code %d: %s", command, file, code, output)
			}
			for _, want := range wants {
				if !strings.Contains(output, want) {
					t.Fatalf("%s %s does not say %q:\n%s", command, file, want, output)
				}
			}
			// The last line sums up; it is the only one that begins with the program's name.
			lines := strings.Split(strings.TrimSpace(output), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "culvert: ") ||
				strings.Count(output, "culvert: ") != 1 {
				t.Fatalf("%s %s ends with %q:\n%s", command, file, last, output)
			}
		}
	}
	f("key.yaml", strings.Replace(good, "listeners:", "listners:", 1), "key.yaml:2:1:", "listeners")
	f("two.yaml", strings.Replace(strings.Replace(good, "8089", "80890", 1), "database:", "databse:", 1),
		"two.yaml:2:29:", "65535", "two.yaml:3:", "did you mean \"database\"", "2 mistakes")
	f("url.yaml", strings.Replace(good, "http:", "htp:", 1), "url.yaml:3:26:", "http://")
	f("syntax.yaml", good+"workers: {frames: 1024\n", "syntax.yaml:")
	write(t, dir, "rules.yaml", strings.Replace(hot(""), "temperature > 95.0", "temperature > ", 1))
	f("rules.d.yaml", good+"rules: {files: [rules.yaml]}\n", "rules.yaml:6:")
	write(t, dir, "unknown.yaml", hot("        actions: [nobody]\n"))
	f("action.yaml", good+"rules: {files: [unknown.yaml]}\n", "unknown.yaml:10:", "nobody")
}

// Goal: check names what the configuration needs and this machine lacks. Method: an interface and a queue
// that are not there.
func TestPrivCheckMissesThings(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	f := func(text, want string) {
		t.Helper()
		code, output := once(t, lab, "check", "-c", write(t, t.TempDir(), "culvert.yaml", text))
		if code != 69 || !strings.Contains(output, want) || strings.Count(output, "\n") != 1 {
			t.Fatalf("exit code %d, %q", code, output)
		}
	}
	f(minimal("nowhere0", "http://127.0.0.1:1"), "no such interface")
	good := minimal(lab.GatewayInterface, "http://127.0.0.1:1")
	f(strings.Replace(good, "{name: gw0", "{name: gw0, queues: [3]", 1), "no queue 3")
}

// Goal: status shows a running gateway as a page and as its document, and says in one line that none runs.
// Method: ask before, while and after.
func TestPrivStatus(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	nobody := func() {
		t.Helper()
		code, output := once(t, lab, "status")
		if code != 1 || strings.Count(output, "\n") != 1 ||
			!strings.Contains(output, "is one running there?") {
			t.Fatalf("exit code %d, %q", code, output)
		}
	}
	nobody()
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	fmt.Fprint(udpSender(t, lab, lab.GatewayIPv4), "m v=1 1\nm v=2 2\nbad")
	g.settled(3)
	code, page := once(t, lab, "status")
	for _, want := range []string{
		`(?m)^ready$`, `(?i)received +3`, `(?i)written +2`, `gw0 .*native`, `main`,
	} {
		if code != 0 || !regexp.MustCompile(want).MatchString(page) {
			t.Fatalf("exit code %d, the page does not say %q:\n%s", code, want, page)
		}
	}
	code, document := once(t, lab, "status", "--json", "--url", "http://127.0.0.1:9490/")
	var s telemetry.Status
	if err := json.Unmarshal([]byte(document), &s); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v in %q", code, err, document)
	}
	if s.Ledger.Written != 2 || sum(s.Ledger.Rejected) != 1 || s.Ledger.Residue != 0 || !s.Ready ||
		!slices.ContainsFunc(s.Workers, func(w telemetry.WorkerStatus) bool { return w.Name == "kernel" }) {
		t.Fatalf("%+v", s)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	nobody()
}
