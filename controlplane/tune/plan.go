package tune

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"culvert/controlplane/doctor"
	"culvert/controlplane/nic"
	"culvert/numa"
)

// ringMax is the longest receive ring that is asked for, in descriptors: a card of 25 Gbit/s fills it in a
// tenth of a millisecond with the smallest packets; longer ones fall out of the cache.
const ringMax = 4096

// Change is one setting that shall become another.
type Change struct {
	Setting
	Now     string `json:"now"`
	Becomes string `json:"becomes"`
	Why     string `json:"why"`
}

// planner collects changes for one interface of a host.
type planner struct {
	host    doctor.Host
	card    *doctor.Card
	place   doctor.Place
	knobs   Knobs
	changes []Change
}

// Plan says what would have to change for the host's first card, in the order in which it is done. Nothing to
// change is an empty plan. What cannot be read is not changed.
func Plan(host doctor.Host, knobs Knobs) ([]Change, error) {
	if len(host.Cards) != 1 {
		return nil, fmt.Errorf("plan: %d interfaces are given, not one", len(host.Cards))
	}
	p := &planner{host: host, card: &host.Cards[0], knobs: knobs}
	if !p.card.Present {
		return nil, fmt.Errorf("plan: there is no interface %q", p.card.Name)
	}
	var err error
	if p.place, err = host.Place(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.offloads()
	p.channels()
	p.rings()
	p.steering()
	if err := p.interrupts(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.busyPoll()
	p.hugePages()
	p.sleepStates()
	p.sysctls()
	return p.changes, nil
}

// want adds a change unless all is as wanted, or the setting is not there.
func (p *planner) want(s Setting, value, why string) {
	now, err := p.knobs.Read(s)
	if err != nil || now == value {
		return
	}
	p.changes = append(p.changes, Change{Setting: s, Now: now, Becomes: value, Why: why})
}

func (p *planner) offloads() {
	for _, o := range doctor.Harmful() {
		if feature := p.card.Features[o.Name]; feature.Active && !feature.Fixed {
			p.want(Setting{Kind: Offload, Interface: p.card.Name, Name: o.Name}, "off", o.Why)
		}
	}
}

// channels asks for a queue for each worker that the plan would make if the card had all its queues.
func (p *planner) channels() {
	now, most := p.card.Channels, doctor.ChannelsMax(p.card.Driver, p.card.Channels.ReceiveMax())
	if most == 0 || p.card.Served != nil {
		return
	}
	wider := p.host
	wider.Cards = slices.Clone(p.host.Cards)
	wider.Cards[0].Queues = most
	place, err := wider.Place()
	if err != nil {
		return // The plan with the queues there are was made, and says what it had to say.
	}
	queues := min(max(place.WorkersOf(p.card.Name), 1), most)
	value := fmt.Sprintf("rx %d tx %d combined %d", queues, now.TX, now.Combined)
	if now.Combined > 0 || now.RX == 0 {
		value = fmt.Sprintf("rx %d tx %d combined %d", now.RX, now.TX, queues)
	}
	p.want(Setting{Kind: Channels, Interface: p.card.Name}, value, "a receive queue for each worker")
}

func (p *planner) rings() {
	rings, err := p.knobs.Read(Setting{Kind: Rings, Interface: p.card.Name})
	n, parsed := counts(rings)
	longest := min(p.card.Rings.RXMax, ringMax)
	if err != nil || parsed != nil || n["rx"] >= longest {
		return
	}
	p.want(Setting{Kind: Rings, Interface: p.card.Name}, fmt.Sprintf("rx %d tx %d", longest, n["tx"]),
		"a burst finds room while the worker is busy")
}

// affinity is where an interrupt goes.
func affinity(number int) Setting {
	return Setting{Kind: File, Name: fmt.Sprintf("proc/irq/%d/smp_affinity_list", number)}
}

// Disturbed are the settings that a driver deals out anew when its link is reset: where the card's interrupts
// go.
func Disturbed(root, iface string) ([]Setting, error) {
	list, err := nic.Interrupts(root, iface)
	if err != nil {
		return nil, err
	}
	var settings []Setting
	for _, i := range list {
		settings = append(settings, affinity(i.Number))
	}
	return settings, nil
}

// interrupts sends each queue's to its worker's CPU.
func (p *planner) interrupts() error {
	list, err := nic.Interrupts(p.host.Root, p.card.Name)
	if err != nil {
		return err
	}
	local := p.place.Topology.CPUsNear(numa.NICNode(p.host.Root, p.card.Name))
	for _, i := range list {
		if i.Queue < 0 {
			continue
		}
		p.want(affinity(i.Number), p.place.Home(p.card.Name, i.Queue, local),
			fmt.Sprintf("the interrupt of queue %d goes to its worker's CPU", i.Queue))
	}
	return nil
}

// busyPoll defers the interrupts of the whole interface where the gateway cannot do it by queue.
func (p *planner) busyPoll() {
	if !p.card.BusyPoll || p.card.DefersByQueue {
		return
	}
	deferral := nic.PollDeferral()
	of := "sys/class/net/" + p.card.Name
	p.want(Setting{Kind: File, Name: of + "/napi_defer_hard_irqs"},
		strconv.FormatUint(uint64(deferral.Deferrals), 10),
		"interrupts stay masked while the worker polls")
	p.want(Setting{Kind: File, Name: of + "/gro_flush_timeout"},
		strconv.FormatUint(deferral.FlushTimeout, 10),
		"a queue whose worker sleeps is polled by the kernel after 200 µs")
}

func (p *planner) hugePages() {
	if p.host.Workers.HugePages == "off" {
		return
	}
	byNode := p.place.QueuesByNode()
	for _, id := range slices.Sorted(maps.Keys(byNode)) {
		node := p.place.Topology.Node(id)
		if node == nil {
			continue
		}
		wanted, there := p.host.HugePagesFor(byNode[id]), node.HugePagesFree+p.host.HugePagesHeld(id)
		if there >= wanted {
			continue
		}
		p.want(Setting{Kind: File, Name: p.host.HugePagesFile(id)}, strconv.Itoa(node.HugePages+wanted-there),
			fmt.Sprintf("the frames of the queues that node %d serves (%d) lie on its huge pages", id,
				byNode[id]))
	}
}

func (p *planner) sleepStates() {
	if p.host.Workers.Wait == "busy" {
		return // Workers that never sleep leave no pause to their CPUs.
	}
	for _, cpu := range p.place.WorkerCPUs() {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpuidle", cpu)
		states, _ := os.ReadDir(filepath.Join(p.host.Root, dir))
		for _, state := range states {
			of := dir + "/" + state.Name()
			latency, err := p.knobs.Read(Setting{Kind: File, Name: of + "/latency"})
			n, parsed := strconv.Atoi(latency)
			if err != nil || parsed != nil || n <= doctor.ExitLatencyMax {
				continue
			}
			p.want(Setting{Kind: File, Name: of + "/disable"}, "1",
				fmt.Sprintf("the worker's CPU wakes in less than %d µs", n))
		}
	}
}

func (p *planner) sysctls() {
	p.want(sysctl("net.core.bpf_jit_enable"), p.atLeast("net.core.bpf_jit_enable", 1),
		"programs run as machine code")
	if len(p.place.Topology.Nodes) > 1 {
		p.want(sysctl("kernel.numa_balancing"), "0",
			"the kernel does not look for better places of placed memory")
	}
}

// atLeast is a sysctl's value, or another where it is less.
func (p *planner) atLeast(name string, least int) string {
	now, err := p.knobs.Read(sysctl(name))
	if n, parsed := strconv.Atoi(now); err == nil && parsed == nil && n >= least {
		return now
	}
	return strconv.Itoa(least)
}

func sysctl(name string) Setting {
	return Setting{Kind: File, Name: "proc/sys/" + strings.ReplaceAll(name, ".", "/")}
}
