package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/controlplane/nic"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// ownMachine tells whether the host's settings are the test's to change: in scripts/vm, and not where others
// work, too.
func ownMachine(t *testing.T) bool {
	t.Helper()
	if os.Getenv("CULVERT_TEST_OWN_MACHINE") != "1" {
		t.Log("not run: the host's settings are others', too (CULVERT_TEST_OWN_MACHINE)")
		return false
	}
	return true
}

// diagnose runs a doctor and returns its findings.
func diagnose(t *testing.T, lab *testenv.Lab, command *exec.Cmd) doctor.Report {
	t.Helper()
	var output, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &output, &diagnostics
	run := command.Run
	var err error
	if lab == nil {
		err = run()
	} else {
		err = lab.Gateway.Do(run)
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	var report doctor.Report
	if err := json.Unmarshal(output.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s%s", err, output.String(), diagnostics.String())
	}
	return report
}

// wrong is the first finding of a check that is worth a look and holds a text, or nil.
func wrong(report doctor.Report, check, text string) *doctor.Finding {
	for i := range report.Findings {
		f := &report.Findings[i]
		if f.Check == check && f.Status >= doctor.Warn && strings.Contains(f.Text, text) {
			return f
		}
	}
	return nil
}

// anyCommand is the first command of a remedy.
var anyCommand = regexp.MustCompile("`([^`]+)`")

// mends provokes a finding, lets doctor find it, runs the command that it prints, and sees it gone. instead
// (optional) is what the command does, where it cannot run here.
func mends(t *testing.T, diagnosis func() doctor.Report, run func(string), provoke, check, text,
	instead string) {
	t.Helper()
	if provoke != "" {
		run(provoke)
	}
	var finding *doctor.Finding
	eventually(t, provoke+": "+check, func() error {
		report := diagnosis()
		if finding = wrong(report, check, text); finding == nil {
			return fmt.Errorf("not found: %+v", report.Findings)
		}
		return nil
	})
	match := anyCommand.FindStringSubmatch(finding.Remedy)
	if match == nil {
		t.Errorf("%s has no command: %q", check, finding.Remedy)
		return
	}
	mend := match[1]
	t.Logf("%s: %s: %s", check, finding.Text, mend)
	if instead != "" {
		mend = instead
	}
	run(mend)
	eventually(t, mend+" mends "+check, func() error {
		if still := wrong(diagnosis(), check, text); still != nil {
			return fmt.Errorf("%+v", *still)
		}
		return nil
	})
}

// Goal: each finding of the host is provoked, found, mended by the command that it prints, and gone.
func TestPrivDoctorMendsHost(t *testing.T) {
	need(t)
	if !ownMachine(t) {
		return
	}
	config := write(t, t.TempDir(), "culvert.yaml", minimal("lo", "http://127.0.0.1:1")+
		"workers: {huge_pages: on, frames: 32768}\n")
	diagnosis := func() doctor.Report {
		return diagnose(t, nil, exec.Command(culvert, "doctor", "--json", "-c", config))
	}
	run := func(line string) {
		t.Helper()
		if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	f := func(provoke, check, text string) {
		t.Helper()
		mends(t, diagnosis, run, provoke, check, text, "")
	}
	f("sysctl -w kernel.sched_rt_runtime_us=-1", "rt_throttling", "not throttled")
	f("umount /sys/fs/bpf", "bpffs", "nowhere to pin")
	f("", "huge_pages", "demands them")
	if _, err := os.Stat("/proc/sys/kernel/io_uring_disabled"); err == nil {
		f("sysctl -w kernel.io_uring_disabled=2", "io_uring", "nobody may have a ring")
	} else if testenv.AtLeast(6, 6) {
		t.Error(err)
	}
	// Kernels without an interpreter refuse to switch the JIT off, and then there is nothing to be found.
	const jit = "/proc/sys/net/core/bpf_jit_enable"
	if err := os.WriteFile(jit, []byte("0"), 0o644); err == nil {
		f("", "jit", "interpreted")
	} else if !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	// There is no systemd here to end it.
	balancer := exec.Command("sh", "-c", "echo irqbalance >/proc/$$/comm; read -r line")
	stdin, err := balancer.StdinPipe()
	if err == nil {
		err = balancer.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	// Waited for at once: one that has ended and is not waited for still has its name.
	go balancer.Wait()
	mends(t, diagnosis, run, "", "irqbalance", "moves the cards' interrupts",
		fmt.Sprintf("kill %d", balancer.Process.Pid))
}

// Goal: a limit on locked memory is found, and the printed command mends it. Method: without CAP_IPC_LOCK,
// which goes before the limit.
func TestPrivDoctorMendsMemlock(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	// So few frames that a usual hard limit, 8 MiB, has room for them.
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:1")+
		"workers: {frames: 512}\n")
	raise := ""
	diagnosis := func() doctor.Report {
		command := exec.Command("sh", "-c", "ulimit -S -l 64; "+raise+` exec "$0" "$@"`, culvert, "doctor",
			"--json", "-c", config)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return diagnose(t, lab, command)
	}
	// A shell has limits of its own: what the command changes is the shell that starts the next doctor.
	mends(t, diagnosis, func(line string) { raise = line + ";" }, "", "memlock", "RLIMIT_MEMLOCK is 64 KiB",
		"")
}

// Goal: each finding of a real card is provoked, found, mended by the command that it prints, and gone; then
// `culvert tune` does the same at once, and takes it back. Method: virtio_net in scripts/vm.
func TestPrivDoctorMendsNIC(t *testing.T) {
	need(t)
	name, _, queues, ok := testenv.NICPair(t)
	if !ok {
		return
	}
	topology, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	node := topology.Node(numa.NICNode("/", name))
	if node == nil || len(topology.Nodes) < 2 {
		t.Fatalf("the card is on node %+v of %d", node, len(topology.Nodes))
	}
	away := topology.Nodes[0].CPUs[0]
	if topology.Nodes[0].ID == node.ID {
		away = topology.Nodes[1].CPUs[0]
	}
	interrupts, err := nic.Interrupts("/", name)
	if err != nil {
		t.Fatal(err)
	}
	interrupt := ""
	for _, i := range interrupts {
		if i.Queue == 0 {
			interrupt = strconv.Itoa(i.Number)
		}
	}
	lab, _ := testenv.NewNICLab(t)
	diagnosis := func() doctor.Report {
		// The kernel moves an interrupt when it comes the next time.
		disturb(t, lab)
		return diagnose(t, lab, withSysfs("doctor", "--json", "-i", name))
	}
	inside := func(line string) (string, error) {
		command := exec.Command("sh", "-c", "mount -t sysfs sysfs /sys && "+line)
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		err := lab.Gateway.Do(command.Run)
		return output.String(), err
	}
	run := func(line string) {
		t.Helper()
		if output, err := inside(line); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	stray := fmt.Sprintf("echo %d > /proc/irq/%s/smp_affinity_list", away, interrupt)
	long := "" // nothing is wrong with long packets where they come in several frames, with a copy
	switch {
	case testenv.AtLeast(6, 13):
		long = "which the driver does not offer with zero-copy"
	case !testenv.AtLeast(6, 6):
		long = "without packets in several pieces"
	}
	for _, c := range []struct{ provoke, check, text string }{
		{stray, "interrupts", "interrupt " + interrupt + " "},
		{"ip link set dev " + name + " mtu 9000", "mtu", long},
		{"ip link set dev " + name + " down", "interface", "it is down"},
		{"", "queues", fmt.Sprintf("%d queues for 1 worker", queues)},
	} {
		if c.text == "" {
			continue
		}
		mends(t, diagnosis, run, c.provoke, c.check, c.text, "")
	}
	run(fmt.Sprintf("ethtool -L %s combined %d", name, queues))
	run(stray)
	settings := func() string {
		t.Helper()
		output, err := inside(fmt.Sprintf("ethtool -k %s; ethtool -l %s; ethtool -g %s; "+
			"cat /proc/irq/%s/smp_affinity_list", name, name, name, interrupt))
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return output
	}
	before, state := settings(), t.TempDir()
	tune := func(step string) string {
		t.Helper()
		g := startCommand(t, lab, withSysfs("tune", step, "-i", name, "--state-dir", state))
		if code := g.wait(); code != 0 {
			t.Errorf("tune %s: exit code %d:\n%s", step, code, g.output)
		}
		return g.output.String()
	}
	t.Logf("tune apply:\n%s", tune("apply"))
	for _, check := range []string{"interrupts", "queues", "offloads"} {
		if f := wrong(diagnosis(), check, ""); f != nil {
			t.Errorf("after tune: %+v", *f)
		}
	}
	tuned := settings()
	if again := tune("apply"); !strings.Contains(again, "all is as it should be") || settings() != tuned {
		t.Errorf("the second apply:\n%s", again)
	}
	tune("revert")
	if after := settings(); after != before {
		t.Errorf("after the revert:\n%s\nbefore:\n%s", after, before)
	}
}

// disturb sends packets of many flows, so that each of the card's queues gets some.
func disturb(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	for range 64 {
		conn := udpSender(t, lab, lab.GatewayIPv4)
		// The interface may be down, and the port is nobody's.
		conn.Write([]byte("x"))
		conn.Close()
	}
}
