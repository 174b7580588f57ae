package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"culvert/controlplane/nic"
	"culvert/scripts/testenv"
)

// deferrals are what the NAPI instances of an interface's queues are set to, and whether the kernel and the
// driver can tell.
func deferrals(t *testing.T, lab *testenv.Lab, queues int) (all []nic.Deferral, offered bool) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		link, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		for queue := range queues {
			napi, err := nic.QueueNAPI(link.Attrs().Index, queue)
			var d nic.Deferral
			if err == nil {
				d, err = nic.AskDeferral(napi)
			}
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		return nil
	})
	if err != nil && !errors.Is(err, nic.ErrNotOffered) {
		t.Fatal(err)
	}
	return all, err == nil
}

// Goal: with `busy_poll: on` the interrupts of the queues that are served wait for the worker's polls, and
// those of others do not; at the end all is as it was, also after a gateway that was killed; and tune leaves
// it to the gateway. Method: the kernel's own word, with a card where there is one (scripts/vm), else a veth.
// Before Linux 6.13, and with drivers that do not tell which NAPI is a queue's, nothing is set.
func TestPrivInterruptsDeferredByQueue(t *testing.T) {
	need(t)
	var lab *testenv.Lab
	queues, card := 2, false
	command := func(arguments ...string) *exec.Cmd { return exec.Command(culvert, arguments...) }
	if _, _, _, card = testenv.NICPair(t); card {
		lab, queues = testenv.NewNICLab(t)
		command = withSysfs
	} else {
		lab = testenv.NewLab(t, queues)
	}
	sink := newRecorder(t, lab)
	config := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf("interfaces: [{name: %s, busy_poll: on, "+
		"queues: [0]}]\nlisteners: [{name: p, port: %d}]\nworkers: {frames: 1024}\n"+
		"sinks: [{name: m, urls: [%s], database: d}]\n", lab.GatewayInterface, port, sink.url))
	begin := func() *gateway {
		g := startCommand(t, lab, command("run", "-c", config))
		g.ready()
		return g
	}
	is := func(when string, first nic.Deferral) bool {
		t.Helper()
		all, offered := deferrals(t, lab, queues)
		for queue, d := range all {
			want := nic.Deferral{}
			if queue == 0 {
				want = first
			}
			if d != want {
				t.Errorf("%s: queue %d has %+v, want %+v", when, queue, d, want)
			}
		}
		t.Logf("%s: %+v, offered %t", when, all, offered)
		return offered
	}
	g := begin()
	if offered := is("while it runs", nic.PollDeferral()); !offered {
		if card && testenv.AtLeast(6, 13) {
			t.Error("the kernel has it, and the driver does not offer it")
		}
		return
	}
	g.kill()
	is("after a kill", nic.PollDeferral())
	g = begin()
	if code, output := once(t, lab, "tune", "plan", "-i", lab.GatewayInterface, "-c", config); code != 0 ||
		strings.Contains(output, "napi_defer_hard_irqs") ||
		strings.Contains(output, "gro_flush_timeout") {
		t.Errorf("tune plan: exit code %d: %s", code, output)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	is("at the end", nic.Deferral{})
}
