package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/controlplane/doctor"
	"culvert/scripts/testenv"
)

// asNobody has a command run without rights.
func asNobody(command *exec.Cmd) *exec.Cmd {
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return command
}

// Goal: each finding that hangs on the configuration or on an interface is provoked, found, mended by what it
// prints, and gone. Method: a line of the configuration is put where the remedy says, a command is run.
func TestPrivDoctorMendsLab(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 4)
	dir := t.TempDir()
	// A template's «…» is what the remedy replaces.
	f := func(provoke, template, check, text string) {
		t.Helper()
		plain := strings.NewReplacer("«", "", "»", "").Replace(template)
		config := write(t, dir, "culvert.yaml", plain)
		diagnosis := func() doctor.Report {
			return diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", config))
		}
		run := func(line string) { t.Helper(); shell(t, lab, line) }
		if before, rest, replaced := strings.Cut(template, "«"); replaced {
			_, after, _ := strings.Cut(rest, "»")
			run = func(line string) {
				t.Helper()
				if line == provoke {
					shell(t, lab, line)
					return
				}
				config = write(t, dir, "mended.yaml", before+line+after)
			}
		}
		mends(t, diagnosis, run, provoke, check, text, "")
	}
	const sinks = "sinks: [{name: m, urls: [http://127.0.0.1:1], database: d}]\n"
	const listeners = "listeners: [{name: p, port: 8089, sources: [10.0.0.0/8]}]\n"
	of := func(name, more string) string {
		return fmt.Sprintf("interfaces: [{name: %s%s}]\n", name, more) + listeners + sinks
	}
	f("", "interfaces: [{name: gw0}]\nlisteners: [{name: p, port: 8089, «»}]\n"+sinks,
		"sources", "packets from everyone")
	f("", of("gw0", ", «mode: zerocopy»"), "driver", "`mode: zerocopy` demands")
	f("ip route add default via 10.88.0.2", of("gw0", ", «mode: auto»"), "interface",
		"default route leaves by")
	shell(t, lab, "ip route del default")
	f("", of("gw0", "")+"«workers: {cpus: \"999\"}»\n", "placement", "workers.cpus: CPU")
	f("", of("gw0", ", «queues_fanout: flow»")+"workers: {cpus: \"0\"}\n", "placement",
		"queues_fanout changes nothing")
	f("ethtool -L gw0 rx 4", of("gw0", "")+"workers: {cpus: \"0\"}\n", "queues", "takes them in turn")
	f("ethtool -L gw0 rx 1", of("gw0", ", queues: [0, 2]"), "queues",
		"queue 2 is to be served, and there are 1")
	if testenv.AtLeast(6, 3) {
		// Older kernels do not tell what an interface without a driver of the table offers.
		f("", of("lo", ", «mode: auto»"), "driver", "packets take the way through the kernel first")
	}
	f("ip link property add dev gw0 altname telemetry0",
		"interfaces: [{«name: telemetry0»}]\n"+listeners+sinks, "interface", "it is another name of gw0")
	f("ip tuntap add dev tp0 mode tap", of("tp0", ", «busy_poll: on»"), "driver", "busy_poll is left off")

	// The same is said by check.
	for setting, want := range map[string]bool{"on": true, "off": false} {
		config := write(t, dir, "polled.yaml", of("tp0", ", busy_poll: "+setting))
		code, output := once(t, lab, "check", "-c", config)
		said := strings.Contains(output, "busy_poll of tp0 is left off") &&
			strings.Contains(output, "`busy_poll: off`")
		if code != 0 || said != want {
			t.Errorf("check, busy_poll %s: exit code %d, %s", setting, code, output)
		}
	}

	// What an interface that is not there can be replaced by is what the printed command lists.
	config := write(t, dir, "absent.yaml", of("gw9", ""))
	absent := func() doctor.Report {
		return diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", config))
	}
	run := func(line string) {
		t.Helper()
		var listed bytes.Buffer
		command := exec.Command("sh", "-c", line)
		command.Stdout = &listed
		err := lab.Gateway.Do(command.Run)
		name := regexp.MustCompile(`(?m)^gw0\b`).FindString(listed.String())
		if err != nil || name == "" {
			t.Fatalf("%s: %v: %s", line, err, listed.String())
		}
		config = write(t, dir, "there.yaml", of(name, ""))
	}
	mends(t, absent, run, "", "interface", "there is no such interface", "")
}

// Goal: a BPF file system that is not mounted is found, and the printed command mends it. Method: a mount
// namespace of its own without it.
func TestPrivDoctorMendsMount(t *testing.T) {
	need(t)
	mended := ""
	diagnosis := func() doctor.Report {
		command := exec.Command("sh", "-c", "umount /sys/fs/bpf; "+mended+` exec "$0" doctor --json`,
			culvert)
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return diagnose(t, nil, command)
	}
	// The namespace ends with its doctor: the command goes before the next one.
	mends(t, diagnosis, func(line string) { mended = line + ";" }, "", "bpffs", "no BPF file system", "")
}

// Goal: a user without capabilities is told what gives them to the binary, and the command does. Method: a
// copy of the binary, and setcap.
func TestPrivDoctorMendsCapabilities(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_SETFCAP)
	if _, err := exec.LookPath("setcap"); err != nil {
		testenv.Skip(t, "setcap is missing (Debian: libcap2-bin)")
	}
	copied := filepath.Join(publicDir(t), "culvert")
	from, err := os.Open(culvert)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(copied, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	diagnosis := func() doctor.Report {
		return diagnose(t, nil, asNobody(exec.Command(copied, "doctor", "--json")))
	}
	run := func(line string) {
		t.Helper()
		if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	mends(t, diagnosis, run, "", "capability", "not held", "")
}

// Goal: a worker's CPU that sleeps too deep is found, and the printed command mends it. Method: machines here
// have no deep states, and many none at all, so each CPU gets one in a mount namespace, by an overlay.
func TestDoctorMendsSleepStates(t *testing.T) {
	need(t)
	lab, dir := testenv.NewLab(t, 1), t.TempDir()
	config := write(t, dir, "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:1"))
	mended := ""
	diagnosis := func() doctor.Report {
		command := exec.Command("sh", "-c", `cd "$1" && mkdir -p made && mount -t tmpfs made made &&
			mkdir made/upper made/work || exit
			cpus=/sys/devices/system/cpu
			for c in $cpus/cpu[0-9]*; do
				s=made/upper/${c##*/}/cpuidle/state1
				mkdir -p $s && echo 133 >$s/latency && echo 0 >$s/disable && echo C6 >$s/name || exit
			done
			mount -t overlay made -o lowerdir=$cpus,upperdir=made/upper,workdir=made/work $cpus || exit
			`+mended+` exec "$0" doctor --json -c culvert.yaml`, culvert, filepath.Dir(config))
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return diagnose(t, lab, command)
	}
	mends(t, diagnosis, func(line string) { mended = line + " >/dev/null;" }, "", "sleep_states",
		"workers' CPUs sleep too deep", "")
}
