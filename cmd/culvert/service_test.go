package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/controlplane/gateway"
	"culvert/scripts/testenv"
)

const unitDir = "../../deploy/systemd"

// unitValues are all values of one key of a unit file, in order.
func unitValues(t *testing.T, unit, key string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unitDir, unit))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), key+"="); found {
			values = append(values, value)
		}
	}
	return values
}

// Goal: systemd finds nothing wrong with the units, and little that the gateway could do beyond its work.
// Method: systemd-analyze on copies whose program and manual are there.
func TestUnitsBeforeSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		testenv.Skip(t, "systemd-analyze is missing (scripts/setup test)")
	}
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	units := []string{"culvert.service", "culvert-tune@.service"}
	var copies []string
	for _, unit := range units {
		text, err := os.ReadFile(filepath.Join(unitDir, unit))
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for line := range strings.Lines(string(text)) {
			// The manual pages are made when packages are.
			if !strings.HasPrefix(line, "Documentation=") {
				kept = append(kept, strings.Replace(line, "/usr/bin/culvert", program, 1))
			}
		}
		name := filepath.Join(dir, unit)
		if err := os.WriteFile(name, []byte(strings.Join(kept, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, name)
	}
	verify := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, copies...)...)
	if output, err := verify.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("verify: %v\n%s", err, output)
	}
	security := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
		copies[0])
	if output, err := security.CombinedOutput(); err != nil {
		t.Errorf("exposure is above 2.0: %v\n%s", err, output)
	}
}

// Goal: the unit ends for good on the exit codes that a restart does not mend, and on no others.
func TestUnitExitCodes(t *testing.T) {
	got := unitValues(t, "culvert.service", "RestartPreventExitStatus")
	if !slices.Equal(got, []string{"69 77 78"}) {
		t.Fatalf("%q", got)
	}
	if exitUnavailable != 69 || exitPrivilege != 77 || exitConfig != 78 {
		t.Fatal("the exit codes are others")
	}
}

// Goal: the gateway gets the capabilities that the privileged tests prove enough, and they bound it.
func TestUnitCapabilities(t *testing.T) {
	const want = "CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_IPC_LOCK"
	for _, key := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if got := unitValues(t, "culvert.service", key); !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q", key, got)
		}
	}
}

// Goal: of all address families that Linux has, the unit refuses every one but the five in use.
func TestUnitAddressFamilies(t *testing.T) {
	families := map[string]int{
		"AF_ALG": unix.AF_ALG, "AF_APPLETALK": unix.AF_APPLETALK, "AF_ASH": unix.AF_ASH,
		"AF_ATMPVC": unix.AF_ATMPVC, "AF_ATMSVC": unix.AF_ATMSVC, "AF_AX25": unix.AF_AX25,
		"AF_BLUETOOTH": unix.AF_BLUETOOTH, "AF_BRIDGE": unix.AF_BRIDGE, "AF_CAIF": unix.AF_CAIF,
		"AF_CAN": unix.AF_CAN, "AF_DECnet": unix.AF_DECnet, "AF_ECONET": unix.AF_ECONET, "AF_IB": unix.AF_IB,
		"AF_IEEE802154": unix.AF_IEEE802154, "AF_IPX": unix.AF_IPX, "AF_IRDA": unix.AF_IRDA,
		"AF_ISDN": unix.AF_ISDN, "AF_IUCV": unix.AF_IUCV, "AF_KCM": unix.AF_KCM, "AF_KEY": unix.AF_KEY,
		"AF_LLC": unix.AF_LLC, "AF_MCTP": unix.AF_MCTP, "AF_MPLS": unix.AF_MPLS,
		"AF_NETBEUI": unix.AF_NETBEUI,
		"AF_NETROM":  unix.AF_NETROM, "AF_NFC": unix.AF_NFC, "AF_PACKET": unix.AF_PACKET,
		"AF_PHONET": unix.AF_PHONET, "AF_PPPOX": unix.AF_PPPOX, "AF_QIPCRTR": unix.AF_QIPCRTR,
		"AF_RDS": unix.AF_RDS, "AF_ROSE": unix.AF_ROSE, "AF_RXRPC": unix.AF_RXRPC,
		"AF_SECURITY": unix.AF_SECURITY, "AF_SMC": unix.AF_SMC, "AF_SNA": unix.AF_SNA,
		"AF_TIPC":  unix.AF_TIPC,
		"AF_VSOCK": unix.AF_VSOCK, "AF_WANPIPE": unix.AF_WANPIPE, "AF_X25": unix.AF_X25,
	}
	used := []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_UNIX, unix.AF_XDP}
	refused := map[int]bool{}
	for _, list := range unitValues(t, "culvert.service", "RestrictAddressFamilies") {
		names, denies := strings.CutPrefix(list, "~")
		if !denies {
			t.Fatalf("%q allows", list)
		}
		for name := range strings.FieldsSeq(names) {
			number, known := families[name]
			if !known {
				t.Fatalf("there is no family %s", name)
			}
			refused[number] = true
		}
	}
	for number := 1; number < unix.AF_MAX; number++ {
		if refused[number] == slices.Contains(used, number) {
			t.Errorf("family %d is refused: %t, in use: %t", number, refused[number], !refused[number])
		}
	}
}

// Goal: the configuration that packages install is right, but for names that each host has its own of.
func TestShippedConfiguration(t *testing.T) {
	setup, mistakes := gateway.Load("../../deploy/culvert.yaml")
	for _, m := range mistakes {
		t.Error(m.Detail())
	}
	if setup == nil || len(setup.Config.Listeners) != 1 || len(setup.Config.Listeners[0].Sources) == 0 {
		t.Fatal("it has not one listener with sources")
	}
}

// Goal: there is a page for every command that is shown, a completion for each shell, and the same bytes each
// time.
func TestManual(t *testing.T) {
	pages := func() map[string]string {
		t.Helper()
		dir := t.TempDir()
		var out, diagnostics bytes.Buffer
		if code := execute([]string{"man", "--dir", dir, "--date", "1700000000"}, &out,
			&diagnostics); code != 0 {
			t.Fatalf("exit code %d: %s", code, diagnostics.String())
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		written := map[string]string{}
		for _, entry := range entries {
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			written[entry.Name()] = string(text)
		}
		return written
	}
	first, second := pages(), pages()
	root, _ := newRootCommand()
	for _, command := range root.Commands() {
		name := "culvert-" + command.Name() + ".1"
		if _, there := first[name]; there == command.Hidden {
			t.Errorf("%s is there: %t, the command is hidden: %t", name, there, command.Hidden)
		}
	}
	for _, name := range []string{"culvert.1", "culvert-tune-apply.1", "culvert.bash", "_culvert",
		"culvert.fish"} {
		if first[name] == "" {
			t.Errorf("%s is not there", name)
		}
	}
	if page := first["culvert-doctor.1"]; !strings.Contains(page, "Nov 2023") ||
		!strings.Contains(page, "what mends it") {
		t.Errorf("the page of doctor:\n%s", page)
	}
	if len(first) != len(second) {
		t.Fatalf("%d files, then %d", len(first), len(second))
	}
	for name := range first {
		if first[name] != second[name] {
			t.Errorf("%s is another each time", name)
		}
	}
}
