package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/controlplane/nic"
)

// steeringFindings are those of how a card chooses queues, and of who else may need it.
func steeringFindings() []finding {
	const byAddresses, byPorts = 0x30, 0xf0 // "sd" and "sdfn"
	narrow := func(rules bool, served ...int) func(*Card) {
		return func(c *Card) {
			c.Served, c.Spread.Indirection = served, nic.InTurn([]int{0, 1}, 128)
			c.Listens = []Listen{{nic.UDP4, 8089}, {nic.UDP6, 8089}}
			c.Features[ntuple] = nic.Feature{Active: rules}
			c.Spread.Rules = nic.RuleTable{Locations: 8}
		}
	}
	return []finding{
		{name: "a hash of addresses", card: func(c *Card) {
			c.Flows = nic.Flows()
			c.Spread.Hash = map[nic.Flow]nic.HashFields{nic.UDP4: byPorts, nic.UDP6: byAddresses}
		}, status: Warn, check: "rss", text: "udp6 is spread over the queues by addresses (sd)",
			remedy: "`ethtool -N eth1 rx-flow-hash udp6 sdfn`"},
		{name: "queues without a socket", card: narrow(false, 0), status: Warn, check: "rss",
			text: "packets to queues 1, too", remedy: "`ethtool -X eth1 equal 1`"},
		{name: "queues without a socket, and rules", card: narrow(true, 1), status: Warn, check: "rss",
			text: "packets to queues 0, too",
			remedy: "`ethtool -N eth1 flow-type udp4 dst-port 8089 action 1 " +
				"&& ethtool -N eth1 flow-type udp6 dst-port 8089 action 1`"},
		{name: "queues without a socket, and rules elsewhere", card: func(c *Card) {
			narrow(true, 1)(c)
			c.Spread.Rules.Elsewhere = true
		}, status: Warn, check: "rss", text: "packets to queues 0, too",
			remedy: "`ethtool -X eth1 start 1 equal 1`"},
		{name: "queues that get no packets", card: func(c *Card) {
			c.Spread.Indirection = nic.InTurn([]int{1}, 128)
		}, status: Warn, check: "rss", text: "queues 0 are served and get no packets",
			remedy: "`ethtool -X eth1 equal 2`, or fewer queues"},
		{name: "the default route", card: func(c *Card) { c.DefaultRoute = true }, status: Warn,
			check: "interface", text: "the host's default route leaves by eth1", remedy: "`mode: generic`"},
	}
}

// Goal: what asks for no change is no finding.
func TestSteeringContent(t *testing.T) {
	f := func(name string, change func(*Card)) {
		t.Helper()
		host := goodHost(goodFiles().write(t))
		change(&host.Cards[0])
		text := bad(Examine(host))
		if strings.Contains(text, "|rss|") || strings.Contains(text, "default route") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
	f("a hash of nothing", func(c *Card) {
		c.Flows, c.Spread.Hash = nic.Flows(), map[nic.Flow]nic.HashFields{nic.UDP4: 0}
	})
	f("the hash of a flow that does not come", func(c *Card) {
		c.Flows, c.Spread.Hash = []nic.Flow{nic.UDP4}, map[nic.Flow]nic.HashFields{nic.UDP6: 0x30}
	})
	f("one queue", func(c *Card) {
		c.Queues, c.Channels.Combined = 1, 1
		c.Flows, c.Spread.Hash = nic.Flows(), map[nic.Flow]nic.HashFields{nic.UDP4: 0x30}
	})
	f("a table of served queues", func(c *Card) {
		c.Served, c.Spread.Indirection = []int{0}, nic.InTurn([]int{0}, 128)
	})
	f("all queues", func(c *Card) { c.Spread.Indirection = nic.InTurn([]int{0, 1}, 128) })
	f("rules for all ports", func(c *Card) {
		steeringFindings()[2].card(c)
		c.Spread.Rules.Rules = map[int]nic.Rule{3: {Flow: nic.UDP4, Port: 8089, Queue: 1},
			9: {Flow: nic.UDP6, Port: 8089, Queue: 1}}
	})
	f("a rule for the queue that the table leaves out", func(c *Card) {
		c.Spread.Indirection = nic.InTurn([]int{1}, 128)
		c.Spread.Rules.Rules = map[int]nic.Rule{3: {Flow: nic.UDP4, Port: 8089, Queue: 0}}
	})
	f("a table too short for all queues", func(c *Card) { c.Spread.Indirection = nic.InTurn([]int{1}, 1) })
	f("kernel sockets and a table of one queue", func(c *Card) {
		c.Spread.Indirection, c.Mode = nic.InTurn([]int{1}, 128), "socket"
	})
	f("kernel sockets", func(c *Card) {
		steeringFindings()[1].card(c)
		c.Mode = "socket"
	})
	f("the default route and generic XDP", func(c *Card) { c.DefaultRoute, c.Mode = true, "generic" })
}

func TestInWords(t *testing.T) {
	f := func(want string, queues ...int) {
		t.Helper()
		if got := inWords(queues); got != want {
			t.Errorf("%v is %q, want %q", queues, got, want)
		}
	}
	f("equal 1", 0)
	f("equal 3", 0, 1, 2)
	f("start 5 equal 2", 5, 6)
	f("weight 1 0 1", 0, 2)
	f("weight 0 1 0 1 1", 1, 3, 4)
}

// Goal: a listener hears what can come to its addresses: those it lists, or the card's own.
func TestListen(t *testing.T) {
	f := func(want []Listen, own string, listeners ...config.Listener) {
		t.Helper()
		card := Card{Flows: flowsTo(addresses(own))}
		card.listen(listeners)
		if !slices.Equal(card.Listens, want) {
			t.Errorf("%s: %v, want %v", own, card.Listens, want)
		}
	}
	both := []Listen{{nic.UDP4, 8089}, {nic.UDP6, 8089}}
	f(both[:1], "10.0.0.1 fe80::1", config.Listener{Port: 8089})
	f(both[1:], "fd00::1 fe80::1", config.Listener{Port: 8089})
	f(both, "10.0.0.1 fd00::1", config.Listener{Port: 8089})
	f(both, "", config.Listener{Port: 8089})
	f(both[1:], "10.0.0.1", config.Listener{Port: 8089, Address: addresses("fd00::7")})
	f([]Listen{{nic.UDP4, 8089}, {nic.UDP4, 8090}}, "10.0.0.1", config.Listener{Port: 8089},
		config.Listener{Port: 8090}, config.Listener{Port: 8089, Address: addresses("10.0.0.7")})
}

func addresses(text string) []netip.Addr {
	var list []netip.Addr
	for field := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParseAddr(field))
	}
	return list
}
