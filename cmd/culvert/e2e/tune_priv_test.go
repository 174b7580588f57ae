package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// settings is all that the system's tools say of the lab's interface.
func settings(t *testing.T, lab *testenv.Lab) string {
	t.Helper()
	var output bytes.Buffer
	command := exec.Command("sh", "-c", "ethtool -k gw0; ethtool -l gw0; ip link show dev gw0 | head -1")
	command.Stdout = &output
	if err := lab.Gateway.Do(command.Run); err != nil {
		t.Fatal(err)
	}
	return output.String()
}

// Goal: apply changes what plan shows, doctor is content then, a second apply changes nothing, and after
// revert the interface is exactly as it was. Method: a real veth; the host's own settings are put back, too.
func TestPrivTuneAppliesAndReverts(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("ethtool"); err != nil {
		testenv.Skip(t, "ethtool is missing (scripts/setup test)")
	}
	lab := testenv.NewLab(t, 4)
	dir := t.TempDir()
	text := minimal(lab.GatewayInterface, "http://127.0.0.1:8086") + "\n"
	if strings.Contains(text, "workers:") {
		t.Fatal("the configuration says something of workers already")
	}
	config := write(t, dir, "culvert.yaml", text+"workers: {huge_pages: off}\n")
	shell(t, lab, "ethtool -K gw0 rx-udp-gro-forwarding on")
	tune := func(step string, more ...string) (int, string) {
		t.Helper()
		arguments := []string{"tune", step, "-i", "gw0", "-c", config}
		if step != "plan" {
			arguments = append(arguments, "--state-dir", filepath.Join(dir, "state"))
		}
		return once(t, lab, append(arguments, more...)...)
	}
	before := settings(t, lab)
	code, plan := tune("plan")
	for _, want := range []string{"gw0 offload rx-vlan-hw-parse", "gw0 offload rx-udp-gro-forwarding",
		"gw0 channels", "rx [12] tx 4 combined 0"} { // a queue for each worker that the CPUs allow
		if code != 0 || !regexp.MustCompile(want).MatchString(plan) {
			t.Errorf("plan: exit code %d, no %q:\n%s", code, want, plan)
		}
	}
	if settings(t, lab) != before {
		t.Fatal("plan changed the interface")
	}
	if code, output := tune("apply"); code != 0 || !strings.Contains(output, "gw0 channels") {
		t.Fatalf("apply: exit code %d:\n%s", code, output)
	}
	report, _ := examine(t, lab, nil, "-c", config)
	for _, check := range []string{"offloads", "queues"} {
		if f := found(report, lab, check, ""); f != nil {
			t.Errorf("after apply doctor finds %+v", *f)
		}
	}
	after := settings(t, lab)
	if code, output := tune("apply"); code != 0 || !strings.Contains(output, "all is as it should be") ||
		settings(t, lab) != after {
		t.Errorf("the second apply: exit code %d:\n%s", code, output)
	}
	if code, output := tune("revert"); code != 0 || settings(t, lab) != before {
		t.Errorf("revert: exit code %d:\n%s\nbefore:\n%s\nafter:\n%s", code, output, before, settings(t, lab))
	}
	if code, output := tune("revert"); code != 0 || !strings.Contains(output, "nothing to restore") {
		t.Errorf("the second revert: exit code %d:\n%s", code, output)
	}
}

// Goal: the interface of the default route is refused unless told, and then nothing was changed.
func TestPrivTuneRefusesDefaultRoute(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	shell(t, lab, "ip route add default via 10.88.0.2")
	before, dir := settings(t, lab), t.TempDir()
	code, output := once(t, lab, "tune", "apply", "-i", "gw0", "--state-dir", dir)
	if code != 1 || !strings.Contains(output, "default route leaves by it") || settings(t, lab) != before {
		t.Fatalf("exit code %d: %s", code, output)
	}
	shell(t, lab, "ip route del default; ip -6 route add default via fd00:88::2")
	if code, output := once(t, lab, "tune", "revert", "-i", "gw0", "--state-dir", dir); code != 1 {
		t.Fatalf("by IPv6: exit code %d: %s", code, output)
	}
	code, output = once(t, lab, "tune", "revert", "-i", "gw0", "--state-dir", dir, "--default-route")
	if code != 0 || !strings.Contains(output, "nothing to restore") {
		t.Fatalf("told so: exit code %d: %s", code, output)
	}
	if code, output := once(t, lab, "tune", "plan", "-i", "absent0"); code != 69 {
		t.Errorf("no such interface: exit code %d: %s", code, output)
	}
	if code, output := once(t, lab, "tune"); code != 2 {
		t.Errorf("no step: exit code %d: %s", code, output)
	}
}

// Goal: an apply that is killed at any point leaves a journal by which revert restores the interface exactly;
// one of another boot restores nothing, since nothing of it is in force, and is in nobody's way. Method: kill
// -9 as soon as so many changes are written down.
func TestPrivTuneKilledAndRebooted(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("ethtool"); err != nil {
		testenv.Skip(t, "ethtool is missing (scripts/setup test)")
	}
	lab := testenv.NewLab(t, 4)
	dir := t.TempDir()
	state, journal := filepath.Join(dir, "state"), filepath.Join(dir, "state", "tune", "tune.json")
	config := write(t, dir, "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:8086")+
		"workers: {huge_pages: off}\n")
	shell(t, lab, "ethtool -K gw0 rx-udp-gro-forwarding on rx-gro-list on")
	before := settings(t, lab)
	arguments := []string{"-i", "gw0", "-c", config, "--state-dir", state}
	tune := func(step string) (int, string) {
		t.Helper()
		return once(t, lab, append([]string{"tune", step}, arguments...)...)
	}
	for written := range 5 {
		g := start(t, lab, append([]string{"tune", "apply"}, arguments...)...)
		for waiting := true; waiting; {
			select {
			case <-g.exited:
				waiting = false
			default:
				text, err := os.ReadFile(journal)
				if err == nil && strings.Count(string(text), `"kind"`) > written {
					g.kill()
					waiting = false
				}
			}
		}
		half := settings(t, lab) != before
		if code, output := tune("revert"); code != 0 || settings(t, lab) != before {
			t.Errorf("killed after %d: revert: exit code %d:\n%s\nbefore:\n%s\nafter:\n%s", written+1, code,
				output, before, settings(t, lab))
		}
		t.Logf("killed with %d changes written down; the interface had changed: %t", written+1, half)
	}
	if code, output := tune("apply"); code != 0 {
		t.Fatalf("apply: exit code %d:\n%s", code, output)
	}
	after := settings(t, lab)
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`"boot": "[^"]*"`).ReplaceAll(text,
		[]byte(`"boot": "00000000-0000-4000-8000-000000000000"`))
	if err := os.WriteFile(journal, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, output := tune("revert"); code != 0 || !strings.Contains(output, "nothing to restore") ||
		settings(t, lab) != after {
		t.Errorf("after a reboot: exit code %d:\n%s", code, output)
	}
	shell(t, lab, "ethtool -K gw0 rx-gro-list on")
	again := settings(t, lab)
	if code, output := tune("apply"); code != 0 || !strings.Contains(output, "rx-gro-list") {
		t.Errorf("apply after a reboot: exit code %d:\n%s", code, output)
	}
	if code, output := tune("revert"); code != 0 || settings(t, lab) != again {
		t.Errorf("revert after a reboot: exit code %d:\n%s", code, output)
	}
}

// Goal: the host can be put back when the interface that it was tuned for is gone; apply says that it is. A
// token that only the service can read is no obstacle. Method: the interface is deleted between the two.
func TestPrivTuneInterfaceGone(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 4)
	dir := t.TempDir()
	config := write(t, dir, "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:8086")+
		"workers: {huge_pages: off}\nhttp: {token_file: /run/credentials/culvert.service/token_http}\n")
	tune := func(step string) (int, string) {
		t.Helper()
		return once(t, lab, "tune", step, "-i", "gw0", "-c", config, "--state-dir", dir)
	}
	if code, output := tune("apply"); code != 0 {
		t.Fatalf("apply: exit code %d:\n%s", code, output)
	}
	shell(t, lab, "ip link del gw0")
	if code, output := tune("apply"); code != 69 || !strings.Contains(output, "there is no such interface") ||
		strings.Contains(output, "all is as it should be") {
		t.Errorf("apply: exit code %d:\n%s", code, output)
	}
	if code, output := tune("revert"); code != 0 || !strings.Contains(output, "it is gone") {
		t.Errorf("revert: exit code %d:\n%s", code, output)
	}
	if code, output := tune("revert"); code != 0 || !strings.Contains(output, "nothing to restore") {
		t.Errorf("the second revert: exit code %d:\n%s", code, output)
	}
}
