package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/scripts/testenv"
)

// addLink adds an interface in the gateway's namespace by words of `ip link add`, or returns false where the
// kernel has no such kind; scripts/vm loads them.
func addLink(t *testing.T, lab *testenv.Lab, words string) bool {
	t.Helper()
	var output bytes.Buffer
	command := exec.Command("sh", "-c", "ip link add "+words)
	command.Stdout, command.Stderr = &output, &output
	if err := lab.Gateway.Do(command.Run); err != nil {
		if ownMachine(t) {
			t.Fatalf("%s: %v: %s", words, err, output.String())
		}
		t.Logf("%s: %v: %s", words, err, output.String())
		return false
	}
	return true
}

// Goal: points that come by a bond come through: by the bond itself in generic mode, which is what mode
// auto takes there, and by its member in native mode; native mode at the bond is refused, and doctor finds
// the bond and prints what mends it. Method: a bond of one veth. In native mode AF_XDP would give no packet
// to a socket of the bond.
func TestPrivBond(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	if !addLink(t, lab, "bond0 type bond mode active-backup miimon 100") {
		return
	}
	shell(t, lab, fmt.Sprintf("ip link set gw0 down && ip addr flush dev gw0 && "+
		"ip link set gw0 master bond0 && ip link set gw0 up && ip addr add %s/24 dev bond0 && "+
		"ip link set bond0 up", lab.GatewayIPv4))
	sink, dir := newRecorder(t, lab), t.TempDir()
	of := func(interfaces string) string {
		return fmt.Sprintf("%s\nlisteners: [{name: p, port: %d, address: [%s], sources: [10.88.0.0/24]}]\n"+
			"workers: {frames: 1024, huge_pages: off}\nsinks: [{name: m, urls: [%s], database: d}]\n",
			interfaces, port, lab.GatewayIPv4, sink.url)
	}
	// A veth leaves checksums unfinished, which is accepted where its own name is that of the driver.
	path := write(t, dir, "bond.yaml", of("interfaces: [{name: bond0, checksum: off}]"))
	bond := path
	mends(t, func() doctor.Report { return diagnose(t, lab, withSysfs("doctor", "--json", "-c", path)) },
		func(line string) { path = write(t, dir, "member.yaml", of(line)) }, "", "bond",
		"a bond has generic XDP alone", "")
	for i, c := range []struct{ config, name, mode string }{
		{bond, "bond0", "generic"}, {path, "gw0", "native"},
	} {
		g := startCommand(t, lab, withSysfs("run", "-c", c.config))
		g.ready()
		conn := udpSender(t, lab, lab.GatewayIPv4)
		// The bond may take a moment to see its member's link.
		eventually(t, "a point by "+c.name, func() error {
			if _, err := fmt.Fprintf(conn, "m,i=%d v=1", i); err != nil {
				return err
			}
			if !strings.Contains(strings.Join(sink.all(), "\n"), fmt.Sprintf("m,i=%d v=1", i)) {
				return fmt.Errorf("the sink has %q", sink.all())
			}
			return nil
		})
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		if mode := interfaceOf(t, s, c.name).Mode; mode != c.mode || s.Packets.Redirected == 0 {
			t.Errorf("%s: mode %s, want %s; %+v", c.name, mode, c.mode, s.Packets)
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	refused := write(t, dir, "native.yaml", of("interfaces: [{name: bond0, mode: native}]"))
	g := startCommand(t, lab, withSysfs("run", "-c", refused))
	if code := g.wait(); code != 69 || !strings.Contains(g.output.String(), "a bond's members alone") {
		t.Errorf("native mode at a bond: exit code %d, %s", code, g.output)
	}
}

// Goal: a VLAN, which has no XDP of its own, is found, and what doctor prints names the interface that it
// stands on, with the VLAN's address.
func TestPrivDoctorMendsVLAN(t *testing.T) {
	need(t)
	lab, dir := testenv.NewLab(t, 1), t.TempDir()
	if !addLink(t, lab, "link gw0 name gw0.100 type vlan id 100") {
		return
	}
	shell(t, lab, "ip addr add 10.99.0.1/24 dev gw0.100 && ip link set gw0.100 up")
	of := func(interfaces string) string {
		return interfaces + "\nlisteners: [{name: p, port: 8089, address: [10.99.0.1], " +
			"sources: [10.0.0.0/8]}]\nsinks: [{name: m, urls: [http://127.0.0.1:1], database: d}]\n"
	}
	path := write(t, dir, "vlan.yaml", of("interfaces: [{name: gw0.100}]"))
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, withSysfs("doctor", "--json", "-c", path))
	}
	const text = "packets take the way through the kernel first"
	f := wrong(diagnosis(), "driver", text)
	if f == nil || !strings.Contains(f.Remedy, "address: [10.99.0.1]") {
		t.Errorf("doctor finds %+v", f)
	}
	mends(t, diagnosis, func(line string) { path = write(t, dir, "parent.yaml", of(line)) }, "", "driver",
		text, "")
}
