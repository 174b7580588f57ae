package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Change says in what two states of an interface differ: a set of bits.
type Change uint16

// The changes.
const (
	ChangedPresence Change = 1 << iota // it went or came back
	ChangedIndex                       // it is another interface of the same name
	ChangedLink                        // up, down, carrier
	ChangedMAC
	ChangedMTU
	ChangedAddresses
	ChangedQueues  // another number of receive queues
	ChangedProgram // another XDP program, or none: an administrator's doing
	ChangedBelow   // packets come by another interface now
)

// Event is a change of an interface. The first one that Watch reports has Changed 0 and says how things are.
type Event struct {
	Before, After State
	Changed       Change
}

// pollEvery is how often the interface is looked at without being told to: no message says that the number of
// queues changed, and messages may be lost.
const pollEvery = time.Second

// Watch reports the state of an interface, which need not exist, and every change of it, until the context
// ends; then it closes the channel. It looks at the network namespace of the calling thread. All reports come
// from one goroutine; a change that is undone before it is seen is not reported.
func Watch(ctx context.Context, name string, report func(Event)) (<-chan struct{}, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	lookout, err := newLookout(name)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", name, err)
	}
	news, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		lookout.close()
		return nil, fmt.Errorf("watch %q: subscribe to link and address changes: %w", name, err)
	}
	// After the subscription, so that nothing falls between.
	state, err := lookout.look()
	if err != nil {
		news.Close()
		lookout.close()
		return nil, fmt.Errorf("watch %q: %w", name, err)
	}
	wake, heard := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(heard)
		hear(news, wake)
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer lookout.close()
		report(Event{Before: state, After: state})
		watch(ctx, lookout, state, wake, report)
		news.Close()
		<-heard
	}()
	return done, nil
}

// hear turns messages into wake-ups. What they say is not read: the state is looked at as a whole, so that a
// lost message (ENOBUFS) costs nothing.
func hear(news *nl.NetlinkSocket, wake chan<- struct{}) {
	for {
		_, _, err := news.Receive()
		if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) {
			return
		}
		lost := errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)
		if err != nil && !lost {
			return // The poll goes on without us.
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func watch(ctx context.Context, l *lookout, before State, wake <-chan struct{}, report func(Event)) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
		after, err := l.look()
		if err != nil {
			continue // The next tick asks again; what is known stays.
		}
		if changed := Compare(before, after); changed != 0 {
			report(Event{Before: before, After: after, Changed: changed})
			before = after
		}
	}
}

// Compare tells in what two states differ.
func Compare(before, after State) (changed Change) {
	mark := func(differ bool, bit Change) {
		if differ {
			changed |= bit
		}
	}
	mark(before.Present != after.Present, ChangedPresence)
	mark(before.Index != after.Index, ChangedIndex)
	mark(before.Up != after.Up || before.Carrier != after.Carrier, ChangedLink)
	mark(before.MAC != after.MAC, ChangedMAC)
	mark(before.MTU != after.MTU, ChangedMTU)
	mark(!slices.Equal(before.Addresses, after.Addresses), ChangedAddresses)
	mark(before.RXQueues != after.RXQueues || before.QueuesMax != after.QueuesMax, ChangedQueues)
	mark(before.program != after.program, ChangedProgram)
	mark(before.Below != after.Below, ChangedBelow)
	return changed
}
