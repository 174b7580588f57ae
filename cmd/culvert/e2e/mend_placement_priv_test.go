package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// Goal: demands of the configuration that put workers where they are not good are found at a real card, and
// the line that doctor prints mends them. Method: virtio_net in scripts/vm, on one of two nodes.
func TestPrivDoctorMendsPlacement(t *testing.T) {
	need(t)
	name, _, queues, ok := testenv.NICPair(t)
	if !ok {
		return
	}
	topology, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	node := numa.NICNode("/", name)
	var away []int
	other := -1
	for _, n := range topology.Nodes {
		if n.ID != node {
			away, other = n.CPUs, n.ID
		}
	}
	lab, _ := testenv.NewNICLab(t)
	dir, path := t.TempDir(), ""
	config := func(workers string) {
		t.Helper()
		path = write(t, dir, "culvert.yaml", fmt.Sprintf("interfaces: [{name: %s, queues: [0]}]\n"+
			"listeners: [{name: p, port: 8089}]\n"+
			"sinks: [{name: m, urls: [http://127.0.0.1:1], database: d}]\n", name)+workers+"\n")
	}
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, withSysfs("doctor", "--json", "-c", path))
	}
	for _, c := range []struct{ workers, text string }{
		{fmt.Sprintf("workers: {numa: %d}", other), "workers.numa is "},
		{fmt.Sprintf("workers: {cpus: \"%d\"}", away[0]), "workers.cpus has no CPU of node"},
		{fmt.Sprintf("workers: {cpus: %q}", numa.FormatList(topology.Node(node).CPUs)), "serve no queue"},
	} {
		mends(t, diagnosis, config, c.workers, "placement", c.text, "")
	}
	t.Logf("%s is on node %d and has %d queues", name, node, queues)
}

// Goal: huge pages that are missing where transparent ones are off, or are on the wrong node, are found, and
// the printed command mends it. Method: a machine of our own.
func TestPrivDoctorMendsPages(t *testing.T) {
	need(t)
	if !ownMachine(t) {
		return
	}
	lab := testenv.NewLab(t, 1)
	config := write(t, t.TempDir(), "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:1")+
		"workers: {huge_pages: auto}\n")
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", config))
	}
	const node = "/sys/devices/system/node/node%s/hugepages/hugepages-2048kB/nr_hugepages"
	const enabled = "/sys/kernel/mm/transparent_hugepage/enabled"
	run := func(line string) {
		t.Helper()
		if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	all := fmt.Sprintf(node, "*")
	none := "echo 0 | tee " + all
	before := make(map[string]string)
	for _, n := range []string{"0", "1"} {
		text, err := os.ReadFile(fmt.Sprintf(node, n))
		if err != nil {
			t.Fatal(err)
		}
		before[n] = strings.TrimSpace(string(text))
	}
	transparent, err := os.ReadFile(enabled)
	if err != nil {
		t.Fatal(err)
	}
	_, chosen, _ := strings.Cut(string(transparent), "[")
	chosen, _, _ = strings.Cut(chosen, "]")
	t.Cleanup(func() {
		run("echo " + chosen + " > " + enabled)
		for n, pages := range before {
			run("echo " + pages + " > " + fmt.Sprintf(node, n))
		}
	})
	mends(t, diagnosis, run, none+" && echo never > "+enabled, "huge_pages", "transparent ones are off", "")
	report := diagnosis()
	served := "" // the node that the veth's queue is planned for
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Check == "huge_pages" {
			served = strings.TrimPrefix(f.On, "node ")
		}
	}
	wrongOne := map[string]string{"0": "1", "1": "0"}[served]
	mends(t, diagnosis, run, none+" && echo 16 > "+fmt.Sprintf(node, wrongOne), "huge_pages",
		"the wrong ones", "")
}

// Goal: a process that is not of the group that may have rings is told, and the printed command mends it.
func TestPrivDoctorMendsRing(t *testing.T) {
	need(t)
	const knob = "/proc/sys/kernel/io_uring_disabled"
	if _, err := os.Stat(knob); errors.Is(err, os.ErrNotExist) && !testenv.AtLeast(6, 6) {
		t.Log("this kernel has no such setting")
		return
	}
	if !ownMachine(t) {
		return
	}
	diagnosis := func() doctor.Report {
		return diagnose(t, nil, asNobody(exec.Command(culvert, "doctor", "--json")))
	}
	run := func(line string) {
		t.Helper()
		if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	mends(t, diagnosis, run, "sysctl -w kernel.io_uring_disabled=1", "io_uring", "and no group", "")
}
