package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"culvert/controlplane/doctor"
	"culvert/scripts/testenv"
)

// examine runs doctor in the lab and returns its findings and its exit code.
func examine(t *testing.T, lab *testenv.Lab, credential *syscall.Credential, flags ...string) (
	doctor.Report, int) {
	t.Helper()
	command := exec.Command(culvert, append([]string{"doctor", "--json", "-i", lab.GatewayInterface},
		flags...)...)
	if credential != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	}
	var output, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &output, &diagnostics
	code := 0
	err := lab.Gateway.Do(command.Run)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		code, err = ended.ExitCode(), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var report doctor.Report
	if err := json.Unmarshal(output.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s%s", err, output.String(), diagnostics.String())
	}
	return report, code
}

// shell runs a command line in the lab's gateway namespace.
func shell(t *testing.T, lab *testenv.Lab, line string) {
	t.Helper()
	command := exec.Command("sh", "-c", line)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := lab.Gateway.Do(command.Run); err != nil {
		t.Fatalf("%s: %v: %s", line, err, output.String())
	}
}

// found is the finding of a check at the lab's interface that is no PASS and holds a text, or nil.
func found(report doctor.Report, lab *testenv.Lab, check, text string) *doctor.Finding {
	for i := range report.Findings {
		f := &report.Findings[i]
		if f.Check == check && f.On == lab.GatewayInterface && f.Status != doctor.Pass &&
			strings.Contains(f.Text, text) {
			return f
		}
	}
	return nil
}

// printedCommand is a command of a remedy that can be run here.
var printedCommand = regexp.MustCompile("`((?:ip|ethtool) [^`]*)`")

// Goal: each finding is provoked on a real interface, found, mended by the command that it prints, and gone.
func TestPrivDoctorMends(t *testing.T) {
	need(t)
	for _, program := range []string{"ip", "ethtool"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Skip(t, program+" is missing (scripts/setup test)")
		}
	}
	lab := testenv.NewLab(t, 4)
	for _, c := range []struct {
		provoke, check, text string
		status               doctor.Status
	}{
		{"ethtool -K gw0 rxvlan on", "offloads", "rx-vlan-hw-parse is on", doctor.Warn},
		{"ethtool -K gw0 rx-gro-list on", "offloads", "rx-gro-list is on", doctor.Warn},
		{"ethtool -K gw0 rx-udp-gro-forwarding on", "offloads", "rx-udp-gro-forwarding is on", doctor.Warn},
		{"ip link set dev gw0 mtu 3000", "mtu", "do not fit a frame of", doctor.Warn},
		{"ip link set dev gw0 mtu 9000", "mtu", "9000", doctor.Warn},
		{"ip link set dev gw0 down", "interface", "it is down", doctor.Warn},
		{"", "program", "their_filter", doctor.Fail},
	} {
		if c.check == "mtu" && testenv.AtLeast(6, 6) {
			continue // packets of several frames are taken
		}
		if c.provoke == "" {
			attachTheirs(t, lab)
		} else {
			shell(t, lab, c.provoke)
		}
		report, code := examine(t, lab, nil)
		finding := found(report, lab, c.check, c.text)
		if finding == nil || finding.Status != c.status {
			t.Fatalf("%s: %s is not found: %+v", c.provoke, c.check, report.Findings)
		}
		if (code == 2) != (report.Count(doctor.Fail) > 0) || code != 0 && code != 2 {
			t.Errorf("exit code %d with %d failures", code, report.Count(doctor.Fail))
		}
		if _, strict := examine(t, lab, nil, "--strict"); strict != max(code, 1) {
			t.Errorf("--strict ends with %d, without it with %d", strict, code)
		}
		match := printedCommand.FindStringSubmatch(finding.Remedy)
		if match == nil {
			t.Fatalf("%s has no command: %q", c.check, finding.Remedy)
		}
		shell(t, lab, match[1])
		after, _ := examine(t, lab, nil)
		if still := found(after, lab, c.check, c.text); still != nil {
			t.Errorf("%q does not mend %s: %+v", match[1], c.check, *still)
		}
	}
}

// attachTheirs puts a program of somebody else's on the gateway's interface.
func attachTheirs(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "their_filter", Type: ebpf.XDP, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
		})
		if err != nil {
			return err
		}
		defer program.Close()
		on, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFd(on, program.FD())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: a user without privileges learns each capability that is missing, and that an interface is not there.
func TestPrivDoctorWithoutPrivilege(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	report, code := examine(t, lab, &syscall.Credential{Uid: 65534, Gid: 65534}, "-i", "absent0")
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	missing := map[string]doctor.Status{}
	for _, f := range report.Findings {
		if f.Status == doctor.Pass {
			continue
		}
		missing[f.Check+" "+f.On] = f.Status
	}
	for name, want := range map[string]doctor.Status{
		"capability CAP_BPF": doctor.Fail, "capability CAP_NET_ADMIN": doctor.Fail,
		"capability CAP_NET_RAW": doctor.Fail, "capability CAP_PERFMON": doctor.Fail,
		"capability CAP_IPC_LOCK": doctor.Warn, "interface absent0": doctor.Fail,
	} {
		if missing[name] != want {
			t.Errorf("%s is %s, want %s", name, missing[name], want)
		}
	}
}
