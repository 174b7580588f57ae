package gateway

import (
	"strings"
	"testing"

	"culvert/controlplane/attach"
	"culvert/controlplane/nic"
	"culvert/dataplane"
)

// Goal: a placement that came out as planned has nothing to be said of; each deviation is named, alone.
func TestDeviations(t *testing.T) {
	good := func() *placement {
		return &placement{
			plan: &Plan{
				Workers: []WorkerSeat{{CPU: 5, Node: 1}, {CPU: 6, Node: 1}, {CPU: -1, Node: -1}},
				Seats:   []Seat{{"eth1", 0, 0, 0}, {"eth1", 1, 0, 1}},
				Offers:  map[string]attach.Offer{"eth1": {Known: true, Native: true, ZeroCopy: true}},
			},
			masks: [][]int{{5}, {6}, {0, 1}}, modes: map[string]string{"eth1": modeZeroCopy},
			asked: map[string]string{"eth1": modeAuto}, nodes: map[string][]int{"eth1": {4, 5, 6, 7}},
			interrupts: map[string][]nic.Interrupt{"eth1": {
				{Number: 69, Queue: -1, Effective: []int{0}}, {Number: 70, Queue: 0, Effective: []int{5}},
				{Number: 71, Queue: 1, CPUs: []int{4, 6, 7}},
			}},
		}
	}
	f := func(change func(*placement), wants ...string) {
		t.Helper()
		p := good()
		change(p)
		found := p.deviations()
		if len(found) != len(wants) {
			t.Errorf("%q, want %q", found, wants)
			return
		}
		for i, want := range wants {
			if !strings.Contains(found[i], want) {
				t.Errorf("%q, want %q", found[i], want)
			}
		}
	}
	f(func(*placement) {})
	f(func(p *placement) {
		p.plan.Notes = []Note{{Text: "its packets cross nodes",
			Remedy: "`numa: local`"}}
	},
		"its packets cross nodes: `numa: local`")
	f(func(p *placement) { p.masks[1] = []int{0, 1} },
		"worker 1 was pinned to CPU 6, and somebody has moved it to 0-1")
	f(func(p *placement) { p.masks[1] = nil })
	f(func(p *placement) {
		p.pages = []dataplane.Pages{{dataplane.FramePages: {1: 2048}, dataplane.RingPages: {1: 9, -1: 4}},
			{dataplane.SendPages: {1: 500, 0: 12}, dataplane.StackPages: {0: 1}},
			{dataplane.RulePages: {0: 3}}}
	}, "worker 1 is on node 1, and of 512 pages of its sends 12 on node 0: restart the gateway",
		"of 1 pages of its stack 1 on node 0")
	f(func(p *placement) { p.modes["eth1"] = modeNative },
		"eth1 runs in mode native, and its driver offers zerocopy")
	f(func(p *placement) { p.modes["eth1"], p.asked["eth1"] = modeNative, modeNative })
	f(func(p *placement) { delete(p.modes, "eth1") })
	f(func(p *placement) { p.interrupts["eth1"][1].Effective = []int{2} },
		"interrupt 70 of eth1's queue 0 goes to CPUs 2, off the card's node: `culvert tune apply -i eth1`")
	f(func(p *placement) { p.interrupts["eth1"][1].Effective = []int{6} },
		"interrupt 70 of eth1's queue 0 goes to CPU 6, which is worker 1's")
	f(func(p *placement) { p.nodes = nil; p.interrupts["eth1"][1].Effective = []int{2} })
}
