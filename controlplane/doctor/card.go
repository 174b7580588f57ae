package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"culvert/controlplane/attach"
	"culvert/controlplane/gateway"
	"culvert/controlplane/nic"
	"culvert/numa"
)

const (
	// frameHeadroom is what the kernel keeps of each frame: XDP_PACKET_HEADROOM (linux/bpf.h).
	frameHeadroom = 256
	// linkHeader is an Ethernet header with two VLAN tags, which MTUs do not count.
	linkHeader = 14 + 2*4
	// mtuUsual is Ethernet's.
	mtuUsual = 1500
)

// card looks at one interface.
func (e *examination) card(card *Card) {
	if !card.Present {
		e.add(Fail, "interface", card.Name, "`ip -br link` lists those there are",
			"there is no such interface")
		return
	}
	if card.Up {
		e.add(Pass, "interface", card.Name, "", "it is up")
	} else {
		e.add(Warn, "interface", card.Name, fmt.Sprintf("`ip link set dev %s up`", card.Name), "it is down")
	}
	if card.Called != "" && card.Called != card.Name {
		e.add(Warn, "interface", card.Name, fmt.Sprintf("`name: %s`", card.Called),
			"it is another name of %s, by which alone node, interrupts and bonds are found", card.Called)
	}
	for _, err := range card.Unread {
		e.add(Skip, "interface", card.Name, "", "%v", err)
	}
	e.bond(card)
	e.managing(card)
	e.mode(card)
	if card.PollRefused && card.Mode != "socket" {
		e.add(Warn, "driver", card.Name, "`busy_poll: off`",
			"busy_poll is left off: driver %q is not known to do it well", card.Driver)
	}
	e.timestamps(card)
	e.foreign(card)
	e.channels(card)
	e.steering(card)
	e.mtu(card)
	e.offloads(card)
	e.interruptsOf(card)
	e.node(card)
	if len(card.Open) > 0 && card.Name != "lo" {
		e.add(Warn, "sources", card.Name,
			"`sources: [10.0.0.0/8]` at the listener, with your senders' networks",
			"%s %s packets from everyone: XDP comes before the host's firewall",
			plural(len(card.Open), "listener", "listeners")+" "+strings.Join(card.Open, ", "),
			plural(len(card.Open), "takes", "take"))
	}
}

// bond looks whether the interface is one, or belongs to one.
func (e *examination) bond(card *Card) {
	const check = "bond"
	members := nic.Members(e.host.Root, card.Name)
	switch {
	case len(members) == 0:
	case card.Mode == "generic" || card.Mode == "socket":
		e.add(Pass, check, card.Name, "", "its packets take the way through the kernel, as mode %s says",
			card.Mode)
	default:
		e.add(Warn, check, card.Name, card.below(members), "a bond has generic XDP alone: AF_XDP takes "+
			"packets from its members alone, each by the queue that it came by")
	}
	if master := nic.Master(e.host.Root, card.Name); master != "" {
		e.add(Pass, check, card.Name, "", "it belongs to %s, whose addresses it takes packets for if "+
			"`address` lists them", master)
	}
}

// below asks for the interfaces that one stands on, with its addresses.
func (card *Card) below(names []string) string {
	remedy := fmt.Sprintf("`interfaces: [%s]` instead of it", namedList(names))
	var own []string
	for _, address := range card.Addresses {
		if !address.IsLinkLocalUnicast() {
			own = append(own, address.String())
		}
	}
	if own == nil {
		return remedy + ", and its addresses as `address` of the listeners"
	}
	return remedy + fmt.Sprintf(", and `address: [%s]` at the listeners", strings.Join(own, ", "))
}

// managing warns of the interface that the host may be managed by.
func (e *examination) managing(card *Card) {
	plan := gateway.Plan{Offers: map[string]attach.Offer{card.Name: card.Offer}}
	note := gateway.Managing(card.Name, plan.Mode(card.Name, card.Mode), card.DefaultRoute)
	if note.Text != "" {
		e.add(Warn, "interface", card.Name, note.Remedy, "%s", note.Text)
	}
}

// namedList are interfaces as a configuration lists them.
func namedList(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = fmt.Sprintf("{name: %s}", name)
	}
	return strings.Join(list, ", ")
}

// mode compares what the driver offers with what is asked for. Kernels before 6.3 do not tell, and the table
// of drivers has to do.
func (e *examination) mode(card *Card) {
	const check = "driver"
	known, listed := drivers()[card.Driver]
	native, zeroCopy := known.native, known.zeroCopy
	source := "by the table of drivers"
	if card.Offer.Known {
		native, zeroCopy, source = card.Offer.Native, card.Offer.ZeroCopy, "by its own word"
	}
	name := card.Driver
	if name == "" {
		name = "an interface without a driver"
	}
	if !card.Offer.Known && nic.Parent(e.host.Root, card.Name) != "" {
		listed, source = true, "as no VLAN has"
	}
	if !card.Offer.Known && !listed {
		e.add(Skip, check, card.Name, "", "%s is not in the table, and this kernel cannot be asked", name)
		return
	}
	about := name + " has "
	switch {
	case zeroCopy:
		about += "native XDP and zero-copy"
	case native:
		about += "native XDP, and copies each frame once"
	default:
		about += "no XDP of its own"
	}
	about += " " + source
	if card.Below == attach.Function {
		about, listed = name+": packets come by a virtual function below it (accelerated networking), whose "+
			"queues are not its own: it has generic XDP alone", false
	}
	if listed && known.metadata != "" {
		about += "; metadata: " + known.metadata
	}
	if listed && known.attachResets {
		about += "; attaching takes the link down for a moment"
	}
	if listed && known.note != "" {
		about += "; " + known.note
	}
	if !zeroCopy && listed && known.zeroCopy && known.zeroCopySince != "" {
		about += fmt.Sprintf("; zero-copy came with Linux %s", known.zeroCopySince)
	}
	lacks := card.Mode == "zerocopy" && !zeroCopy || card.Mode == "native" && !native
	switch {
	case lacks:
		e.add(Fail, check, card.Name, "`mode: auto`", "%s, and `mode: %s` demands more", about, card.Mode)
	case card.Mode == "zerocopy" && !attach.TrustsZeroCopy(card.Driver):
		e.add(Warn, check, card.Name, "`mode: auto`", "%s", about)
	case !native && card.Mode == "auto" && len(nic.Members(e.host.Root, card.Name)) == 0:
		e.add(Warn, check, card.Name, e.faster(card),
			"%s: packets take the way through the kernel first", about)
	default:
		e.add(Pass, check, card.Name, "", "%s", about)
	}
}

// faster is what helps where an interface has no XDP of its own.
func (e *examination) faster(card *Card) string {
	parent := nic.Parent(e.host.Root, card.Name)
	if card.Below == attach.Function {
		return "a card without accelerated networking, or `mode: generic` to say that it is meant so"
	}
	if parent == "" {
		return "another card, or `mode: generic` to say that it is meant so"
	}
	if members := nic.Members(e.host.Root, parent); len(members) > 0 {
		return card.below(members)
	}
	return card.below([]string{parent})
}

func (e *examination) foreign(card *Card) {
	if card.Foreign == nil {
		e.add(Pass, "program", card.Name, "", "no other XDP program is on it")
		return
	}
	remedy := fmt.Sprintf("`ip link set dev %s xdp off`", card.Name)
	text := card.Foreign.Error()
	var obstacle *attach.Error
	if errors.As(card.Foreign, &obstacle) {
		remedy = obstacle.Remedy
		bare := *obstacle
		bare.Remedy = ""
		text = bare.Error()
	}
	e.add(Fail, "program", card.Name, remedy, "%s", text)
}

// channels looks at the number of queues against the driver's and the CPUs'.
func (e *examination) channels(card *Card) {
	const check = "queues"
	now, most := card.Channels.Receive(), card.Channels.ReceiveMax()
	if now == 0 {
		e.add(Pass, check, card.Name, "", "%d, and the driver cannot change it", card.Queues)
		return
	}
	set := func(n int) string {
		word := "rx"
		if card.Channels.Combined > 0 {
			word = "combined"
		}
		return fmt.Sprintf("`ethtool -L %s %s %d`", card.Name, word, n)
	}
	for _, queue := range card.Served {
		if queue >= now {
			e.add(Fail, check, card.Name, set(max(queue+1, now)),
				"queue %d is to be served, and there are %d", queue, now)
			return
		}
	}
	if usable := ChannelsMax(card.Driver, most); now > usable {
		e.add(Fail, check, card.Name, set(usable), "%s gives native XDP transmit queues of its own: "+
			"of %d channels at most %d may be in use, not %d", card.Driver, most, usable, now)
		return
	}
	workers := e.WorkersOf(card.Name)
	if workers > 0 && now > workers && card.Served == nil {
		e.add(Warn, check, card.Name, set(workers),
			"%d queues for %d %s: a worker with several queues takes them in turn", now, workers,
			plural(workers, "worker", "workers"))
		return
	}
	e.add(Pass, check, card.Name, "", "%d of at most %d", now, most)
}

func (e *examination) mtu(card *Card) {
	const check = "mtu"
	remedy := fmt.Sprintf("`ip link set dev %s mtu %d`", card.Name, mtuUsual)
	fits := e.host.Workers.FrameSize - frameHeadroom - linkHeader
	switch {
	case card.Mode == "generic" || card.Mode == "socket":
		e.add(Pass, check, card.Name, "", "%d; mode %s takes any", card.MTU, card.Mode)
	case card.wantsZeroCopy() && !attach.ZeroCopyFits(card.Driver, card.MTU, fits+linkHeader):
		e.broken(card, fits+linkHeader)
	case card.MTU <= fits || card.Name == "lo":
		e.add(Pass, check, card.Name, "", "%d fits frames of %d bytes", card.MTU, e.host.Workers.FrameSize)
	case card.Offer.Pieces && card.Offer.ZeroCopy && !card.Offer.ZeroCopyPieces:
		e.add(Warn, check, card.Name, remedy, "%d: packets longer than %d bytes come in several frames, "+
			"which the driver does not offer with zero-copy: every packet is copied", card.MTU, fits)
	case card.Offer.Pieces:
		e.add(Pass, check, card.Name, "", "%d: packets longer than %d bytes come in several frames of %d, "+
			"and are copied together", card.MTU, fits, e.host.Workers.FrameSize)
	case e.host.Workers.FrameSize == 2048 && card.MTU <= 4096-frameHeadroom-linkHeader-512:
		// In a page of 4096 bytes drivers keep some 500 more for the kernel's own packet (skb_shared_info).
		e.add(Warn, check, card.Name, "`workers: {frame_size: 4096}`, or "+remedy,
			"%d: packets longer than %d bytes do not fit a frame of %d and go to the kernel's socket",
			card.MTU, fits, e.host.Workers.FrameSize)
	default:
		e.add(Warn, check, card.Name, remedy, "%d: without packets in several pieces, which take "+
			"Linux 6.6 and a driver that has them, drivers refuse native XDP for packets longer than a page",
			card.MTU)
	}
}

// wantsZeroCopy tells whether the gateway would take the card with zero-copy, packets permitting.
func (card *Card) wantsZeroCopy() bool {
	return card.Offer.ZeroCopy &&
		(card.Mode == "zerocopy" || card.Mode == "auto" && attach.TrustsZeroCopy(card.Driver))
}

// broken tells of a driver whose zero-copy breaks packets of this MTU into pieces.
func (e *examination) broken(card *Card, packetMax int) {
	problem, remedy := attach.WhyTooLong(card.Name, card.Driver, card.MTU, packetMax)
	if card.Mode == "zerocopy" {
		e.add(Fail, "mtu", card.Name, remedy+", or mode native", "%s", problem)
		return
	}
	e.add(Warn, "mtu", card.Name, remedy, "%s: mode auto takes native instead, and every packet is copied",
		problem)
}

// Offload is one that harms: by the kernel's name, by ethtool's, and why.
type Offload struct{ Name, Option, Why string }

// Harmful are the offloads that change packets before XDP or hand merged ones to it.
func Harmful() []Offload {
	return []Offload{
		{"rx-lro", "lro", "packets are merged before XDP sees them"},
		{"rx-gro-hw", "rx-gro-hw", "the card merges packets before XDP sees them"},
		{"rx-gro-list", "rx-gro-list", "datagrams are chained before generic XDP, which takes them apart"},
		{"rx-udp-gro-forwarding", "rx-udp-gro-forwarding", "datagrams are merged on the way to generic XDP"},
		{"rx-vlan-hw-parse", "rxvlan", "VLAN tags are taken off before XDP: packets of all VLANs look alike"},
	}
}

func (e *examination) offloads(card *Card) {
	const check = "offloads"
	found := false
	for _, o := range Harmful() {
		if !card.Features[o.Name].Active {
			continue
		}
		found = true
		remedy := fmt.Sprintf("`ethtool -K %s %s off`", card.Name, o.Option)
		if card.Features[o.Name].Fixed {
			remedy = "it cannot be switched off; take the packets on another card"
			if card.Driver == "virtio_net" {
				remedy = "start the virtual machine with guest_tso4=off,guest_tso6=off at the card"
			}
		}
		status := Warn
		if o.Name == "rx-lro" && drivers()[card.Driver].noLRO {
			status = Fail
		}
		e.add(status, check, card.Name, remedy, "%s is on: %s", o.Name, o.Why)
	}
	if !found {
		e.add(Pass, check, card.Name, "", "none that harms")
	}
}

// interruptsOf looks where the card's interrupts go: those of queues belong on the card's node, best on no
// worker's CPU of another queue.
func (e *examination) interruptsOf(card *Card) {
	const check = "interrupts"
	list, err := nic.Interrupts(e.host.Root, card.Name)
	if err != nil {
		e.add(Skip, check, card.Name, "", "%v", err)
		return
	}
	e.interrupts[card.Name] = list
	node := numa.NICNode(e.host.Root, card.Name)
	if e.Topology == nil || e.Topology.Node(node) == nil || len(list) == 0 {
		return
	}
	local := e.Topology.CPUsNear(node)
	strayed := false
	for _, i := range list {
		goes := i.Effective
		if len(goes) == 0 {
			goes = i.CPUs
		}
		away := func(cpu int) bool { return !slices.Contains(local, cpu) }
		// One of a queue that is not in use never comes, and a controller moves it only when it does.
		if i.Queue < 0 || i.Queue >= card.Queues || !slices.ContainsFunc(goes, away) {
			continue
		}
		strayed = true
		e.add(Warn, check, card.Name, fmt.Sprintf("`echo %s > /proc/irq/%d/smp_affinity_list`",
			e.Home(card.Name, i.Queue, local), i.Number),
			"interrupt %d (%s) of queue %d goes to CPUs %s, and the card is on node %d (%s)", i.Number,
			i.Name, i.Queue, numa.FormatList(goes), node, numa.FormatList(local))
	}
	if !strayed {
		e.add(Pass, check, card.Name, "", "those of queues stay on node %d", node)
	}
}

// node says where the card is.
func (e *examination) node(card *Card) {
	const check = "node"
	if e.Topology == nil || len(e.Topology.Nodes) < 2 {
		return
	}
	id := numa.NICNode(e.host.Root, card.Name)
	node := e.Topology.Node(id)
	switch {
	case node == nil:
		e.add(Pass, check, card.Name, "",
			"nobody knows on which of %d nodes it is; `workers.numa` can say so", len(e.Topology.Nodes))
	case !node.HasMemory:
		e.add(Warn, check, card.Name, "memory in that socket's slots, or the card in another socket's slot",
			"node %d has no memory: packets cross nodes", id)
	case e.Cpuset.Nodes != nil && !slices.Contains(e.Cpuset.Nodes, id):
		e.add(Warn, check, card.Name, "`"+e.Cpuset.WiderNodes([]int{id})+"`",
			"it is on node %d, whose memory the cpuset %s keeps from this process (it leaves %s)", id,
			e.Cpuset.Group, numa.FormatList(e.Cpuset.Nodes))
	case len(node.CPUs) == 0:
		e.add(Pass, check, card.Name, "", "it is on node %d, which has no CPU; the nearest are %s", id,
			numa.FormatList(e.Topology.CPUsNear(id)))
	default:
		e.add(Pass, check, card.Name, "", "it is on node %d, with CPUs %s", id, numa.FormatList(node.CPUs))
	}
}
