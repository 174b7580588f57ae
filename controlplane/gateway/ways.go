package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/wire"
)

const (
	// wayInterval is how often ways are looked at without being told to, since messages may be lost. It is a
	// small part of the time for which the kernel believes a neighbour (base_reachable_time, 30 s), so that
	// one is asked again long before frames to it would be lost.
	wayInterval = time.Second
	// nameInterval is how often the name of a receiver is looked up.
	nameInterval = 30 * time.Second
)

// way follows one receiver of datagrams: where its route and its next hop are, published for the workers.
type way struct {
	notifier string
	host     string // a name or an address
	port     uint16
	log      *slog.Logger
	current  *atomic.Pointer[dataplane.Way]
	// config is the notifier that it is of; retired, that a reload took that away or changed it.
	config  config.Notifier
	retired bool

	// holder keeps the source port ours, so that no other program's datagrams seem to come from it.
	holder  *net.UDPConn
	address netip.Addr
	asked   time.Time // when the name was looked up
	said    string    // what the log was told last
}

// newWay makes a way that is not found yet.
func newWay(notifier, address string, log *slog.Logger) (*way, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("notifier %q: %w", notifier, err)
	}
	number, err := net.LookupPort("udp", port)
	if err != nil {
		return nil, fmt.Errorf("notifier %q: %w", notifier, err)
	}
	holder, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("notifier %q: take a source port: %w", notifier, err)
	}
	return &way{notifier: notifier, host: host, port: uint16(number), log: log, holder: holder,
		current: new(atomic.Pointer[dataplane.Way])}, nil
}

// serves tells whether the way is of a notifier as it is configured.
func (w *way) serves(n *config.Notifier) bool { return reflect.DeepEqual(w.config, *n) }

func (w *way) close() { w.holder.Close() }

// look finds the way as it is now and publishes it, or that there is none.
func (w *way) look(ctx context.Context) {
	found, err := w.find(ctx)
	if err != nil {
		w.current.Store(nil)
		if said := err.Error(); said != w.said {
			w.said = said
			w.log.Info("alerts leave by the kernel's socket", "notifier", w.notifier, "reason", err)
		}
		return
	}
	before := w.current.Load()
	if before != nil && before.Interface == found.Interface &&
		before.Template.Ends() == found.Template.Ends() {
		return
	}
	w.current.Store(found)
	w.said = ""
	w.log.Info("alerts leave by TX rings", "notifier", w.notifier, "interface", found.Interface)
}

func (w *way) find(ctx context.Context) (*dataplane.Way, error) {
	if !w.address.IsValid() || time.Since(w.asked) > nameInterval {
		address, err := resolveHost(ctx, w.host)
		if err != nil {
			return nil, err
		}
		w.address, w.asked = address, time.Now()
	}
	hop, err := lookUpHop(w.address)
	if err != nil {
		return nil, err
	}
	if !hop.fresh {
		// The kernel asks the neighbour, and its answer, or want of one, is news that leads here again.
		if err := hop.probe(); err != nil {
			return nil, err
		}
	}
	if !hop.known {
		return nil, fmt.Errorf("neighbour %s of %s has not answered", hop.next, hop.name)
	}
	source := w.holder.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	template, err := wire.NewTemplate(wire.Ends{
		SourceMAC: hop.sourceMAC, NextMAC: hop.nextMAC, MTU: hop.mtu,
		Source:      netip.AddrPortFrom(hop.source, source),
		Destination: netip.AddrPortFrom(w.address, w.port),
	})
	if err != nil {
		return nil, err
	}
	return &dataplane.Way{Interface: hop.index, Template: template}, nil
}

func resolveHost(ctx context.Context, host string) (netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		if address.Zone() != "" {
			return netip.Addr{}, fmt.Errorf("%s is an address of one link", address)
		}
		return address.Unmap(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up %q: %w", host, err)
	}
	return addresses[0].Unmap(), nil
}

// hop is the first step towards an address.
type hop struct {
	index              int
	name               string
	mtu                int
	source, next       netip.Addr
	sourceMAC, nextMAC [6]byte
	known              bool // nextMAC is there
	fresh              bool // and the kernel has heard of it lately
}

// lookUpHop asks the kernel's routes and neighbours. A route that leads to no Ethernet neighbour is an error
// that says where it leads.
func lookUpHop(address netip.Addr) (*hop, error) {
	routes, err := netlink.RouteGet(address.AsSlice())
	if err != nil {
		return nil, fmt.Errorf("find the route to %s: %w", address, err)
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("there is no route to %s", address)
	}
	route := &routes[0]
	if route.Type != unix.RTN_UNICAST {
		return nil, fmt.Errorf("%s is not behind a neighbour: its route is this host's own, or none", address)
	}
	link, err := netlink.LinkByIndex(route.LinkIndex)
	if err != nil {
		return nil, fmt.Errorf("look at the interface of the route to %s: %w", address, err)
	}
	attributes := link.Attrs()
	h := &hop{index: route.LinkIndex, name: attributes.Name, mtu: attributes.MTU, next: address}
	if attributes.EncapType != "ether" || len(attributes.HardwareAddr) != len(h.sourceMAC) ||
		attributes.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("the route to %s goes by %s, which is no Ethernet", address, h.name)
	}
	copy(h.sourceMAC[:], attributes.HardwareAddr)
	if route.Gw != nil {
		h.next, _ = netip.AddrFromSlice(route.Gw)
		h.next = h.next.Unmap()
	}
	if route.Via != nil {
		return nil, fmt.Errorf("the route to %s goes by a gateway of another family", address)
	}
	source, ok := netip.AddrFromSlice(route.Src)
	if !ok {
		return nil, fmt.Errorf("the route to %s has no source address", address)
	}
	h.source = source.Unmap()
	return h, h.neighbour()
}

// believed are the states in which the kernel sends to a neighbour without asking it first.
const believed = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE |
	netlink.NUD_PERMANENT | netlink.NUD_NOARP

// neighbour finds the next hop's hardware address.
func (h *hop) neighbour() error {
	family := netlink.FAMILY_V4
	if h.next.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := netlink.NeighList(h.index, family)
	if err != nil {
		return fmt.Errorf("list the neighbours of %s: %w", h.name, err)
	}
	for i := range list {
		address, _ := netip.AddrFromSlice(list[i].IP)
		if address.Unmap() != h.next || list[i].State&believed == 0 ||
			len(list[i].HardwareAddr) != len(h.nextMAC) {
			continue
		}
		copy(h.nextMAC[:], list[i].HardwareAddr)
		h.known = true
		h.fresh = list[i].State&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0
	}
	return nil
}

// probe lets the kernel ask the next hop, as a datagram to it would: NTF_USE (neigh_add,
// net/core/neighbour.c).
func (h *hop) probe() error {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: h.index, IP: h.next.AsSlice(), Flags: netlink.NTF_USE, State: netlink.NUD_NONE,
	})
	if err != nil {
		return fmt.Errorf("ask neighbour %s of %s: %w", h.next, h.name, err)
	}
	return nil
}

// followWays keeps the ways up to date until the context ends: on every news of routes, neighbours, links and
// addresses, and once a second.
func (g *Gateway) followWays(ctx context.Context) {
	news, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEIGH, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV6_IFADDR)
	wake, heard := make(chan struct{}, 1), make(chan struct{})
	if err != nil {
		g.log.Warn("changes of routes are seen once a second", "error", err)
		close(heard)
	} else {
		go func() {
			defer close(heard)
			hearNews(news, wake)
		}()
		defer func() {
			news.Close()
			<-heard
		}()
	}
	tick := time.NewTicker(wayInterval)
	defer tick.Stop()
	for {
		for _, w := range g.ways {
			w.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
	}
}

// hearNews turns messages into wake-ups. What they say is not read: each way is looked at as a whole.
func hearNews(news *nl.NetlinkSocket, wake chan<- struct{}) {
	for {
		_, _, err := news.Receive()
		lost := errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)
		if err != nil && !lost {
			return // Closed; or the tick goes on alone.
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
