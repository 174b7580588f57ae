package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// arrivals are how many packets came by each of a card's queues, and under −1 those that came by queues that
// are not served, to the kernel's socket.
type arrivals map[int]uint64

// spread sends packets from 64 sockets of one address and tells where they came out.
func spread(t *testing.T, lab *testenv.Lab, g *gateway, before *uint64) arrivals {
	t.Helper()
	look := func() arrivals {
		s := g.settled(*before)
		came := arrivals{-1: s.Packets.Kernel}
		for _, q := range interfaceOf(t, s, lab.GatewayInterface).Queues {
			came[q.Queue] = q.Received
		}
		return came
	}
	was := look()
	sent := load(t, lab, loadgen.Config{Rate: 2000, Count: 640, Series: 640, Flows: 64, NoSegments: true})
	*before += sent.Points
	came := arrivals{}
	for queue, n := range look() {
		if n > was[queue] {
			came[queue] = n - was[queue]
		}
	}
	t.Logf("%d packets of one address came by %v", sent.Packets, came)
	return came
}

// Goal: a card that spreads UDP by addresses, and over more queues than are served, is found by doctor and
// mended by the commands that it prints; tune does the same, after which packets of one address come by every
// served queue and no other, and revert restores fields and table. Method: virtio_net in scripts/vm, whose
// hash and table are QEMU's; one sender with 64 sockets. No card here takes rules (ntuple).
func TestPrivTuneSteersNIC(t *testing.T) {
	need(t)
	name, _, queues, ok := testenv.NICPair(t)
	if !ok || queues < 4 {
		return
	}
	lab, _ := testenv.NewNICLab(t)
	url, _ := remoteSink(t, lab)
	dir := t.TempDir()
	serving := func(file, queues string) string {
		return write(t, dir, file, fmt.Sprintf(`interfaces:
  - {name: %s, mode: native, queues: %s}
listeners: [{name: plant, port: %d}]
workers: {frames: 1024, huge_pages: off}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, name, queues, port, url))
	}
	config, wide := serving("culvert.yaml", "[0, 1]"), serving("wide.yaml", "[0, 1, 2, 3]")
	run := func(line string) { t.Helper(); shell(t, lab, line) }
	settings := func() string {
		t.Helper()
		var output bytes.Buffer
		command := exec.Command("sh", "-c", fmt.Sprintf("ethtool -x %[1]s; "+
			"ethtool -n %[1]s rx-flow-hash udp4; ethtool -n %[1]s rx-flow-hash udp6", name))
		command.Stdout, command.Stderr = &output, &output
		if err := lab.Gateway.Do(command.Run); err != nil {
			t.Fatalf("%v: %s", err, output.String())
		}
		return output.String()
	}
	tune := func(step, config string) string {
		t.Helper()
		arguments := []string{"tune", step, "-i", name, "-c", config}
		if step != "plan" {
			arguments = append(arguments, "--state-dir", dir)
		}
		tuning := startCommand(t, lab, withSysfs(arguments...))
		if code := tuning.wait(); code != 0 {
			t.Fatalf("tune %s: exit code %d:\n%s", step, code, tuning.output)
		}
		return tuning.output.String()
	}
	byAddresses := "ethtool -N " + name + " rx-flow-hash udp4 sd"
	// QEMU forgets what was set when a program is attached, and whoever tunes before that is told: the
	// gateway goes first. But the driver does not change this offload while a program is there.
	run("ethtool -K " + name + " rx-gro-hw off receive-hashing on && " + byAddresses)
	t.Cleanup(func() { run("ethtool -K " + name + " rx-gro-hw on") })
	const forgets = "virtio_net may forget hash, table and rules when a program is attached"
	if planned := tune("plan", config); !strings.Contains(planned, forgets) {
		t.Errorf("the plan without a program does not say %q:\n%s", forgets, planned)
	}
	g := startCommand(t, lab, withSysfs("run", "-c", config))
	g.ready()
	run("ethtool -K " + name + " receive-hashing on")
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, withSysfs("doctor", "--json", "-c", config))
	}
	mends(t, diagnosis, run, byAddresses, "rss", "is spread over the queues by addresses", "")
	mends(t, diagnosis, run, "", "rss", "which are not served", "")
	widely := func() doctor.Report { return diagnose(t, lab, withSysfs("doctor", "--json", "-c", wide)) }
	mends(t, widely, run, "", "rss", "are served and get no packets", "")
	allQueues := "ethtool -X " + name + " default"
	run(allQueues + " && " + byAddresses)
	t.Cleanup(func() { run(allQueues + " && ethtool -N " + name + " rx-flow-hash udp4 sdfn") })
	before, points := settings(), uint64(0)

	if came := spread(t, lab, g, &points); len(came) != 1 {
		t.Errorf("by addresses alone: %v, want all by one queue", came)
	}
	said := tune("apply", config)
	for _, want := range []string{name + " hash udp4 ", name + " indirection ", "0 1 2 3 / ", "0 1 / "} {
		if !strings.Contains(said, want) {
			t.Errorf("apply does not say %q:\n%s", want, said)
		}
	}
	came := spread(t, lab, g, &points)
	if came[0] == 0 || came[1] == 0 || len(came) != 2 {
		t.Errorf("tuned: %v, want all by both of queues 0 and 1", came)
	}
	if wrong := wrong(diagnosis(), "rss", ""); wrong != nil {
		t.Errorf("after tune doctor finds %+v", *wrong)
	}
	if strings.Contains(said, forgets) {
		t.Errorf("apply beside a program:\n%s", said)
	}
	if again := tune("apply", config); !strings.Contains(again, "all is as it should be") {
		t.Errorf("the second apply:\n%s", again)
	}
	// More queues are served later: the table comes along, and what is restored is what was before all of it.
	said = tune("apply", wide)
	if f := wrong(widely(), "rss", ""); f != nil || !strings.Contains(said, name+" indirection ") {
		t.Errorf("tuned for more queues:\n%s\ndoctor finds %+v", said, f)
	}
	tune("revert", config)
	if after := settings(); after != before {
		t.Errorf("after the revert:\n%s\nbefore:\n%s", after, before)
	}
	if came := spread(t, lab, g, &points); len(came) != 1 {
		t.Errorf("reverted: %v, want all by one queue", came)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
