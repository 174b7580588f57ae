package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/gateway"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
	"culvert/numa"
)

// Host is all that is judged and is not in a file.
type Host struct {
	Root   string // "/" in production
	Binary string // this program's file, for the commands that name it
	// Mask are the CPUs that this process may run on now.
	Mask []int
	// IOUring is nil where the kernel lets this process have a ring, or its answer.
	IOUring error
	Cards   []Card
	// Running is the status of the gateway that runs here, nil where none answers.
	Running *telemetry.Status
	// Workers says what a gateway would take: the configuration's, or the defaults.
	Workers config.Workers
}

// Card is an interface that a gateway serves or would serve.
type Card struct {
	Name    string
	Called  string // by the kernel, where Name is an alternative name; or empty
	Present bool
	Up      bool
	Index   int
	MTU     int
	Queues  int // receive queues in use
	Driver  string
	Below   attach.Below // what its packets come by
	Offer   attach.Offer
	// Unread are the questions that went wrong; of what they ask for nothing is known.
	Unread []error
	// Occupied tells that there is an XDP program on it, whoever's.
	Occupied bool
	// Addresses are its own.
	Addresses []netip.Addr
	// Foreign says whose program is on it, nil where none is or ours.
	Foreign  error
	Channels nic.Channels // all 0 where the driver has none to tell of
	Rings    nic.Rings    // likewise
	Features map[string]nic.Feature
	Spread   Spread
	// Flows may come to the card's own addresses, and Listens do to the configuration's listeners.
	Flows   []nic.Flow
	Listens []Listen
	// Mode and Served are what the configuration asks for: auto and all queues without one.
	Mode   string
	Served []int
	// Fanout tells that several sockets on each queue are asked for.
	Fanout bool
	// PollRefused tells that busy polling is asked for, and the driver is not good for it.
	PollRefused bool
	// BusyPoll tells that it asks for busy polling, and the driver is good for it.
	BusyPoll bool
	// DefersByQueue tells that the gateway can defer interrupts by queue, without `culvert tune`.
	DefersByQueue bool
	// DefaultRoute tells that the host's default route leaves by it.
	DefaultRoute bool
	// Times says whether it tells when it got each packet; TimesOff that the configuration does not ask, and
	// ClockKept why a gateway may not read its clock.
	Times     nic.CardTimes
	TimesOff  bool
	ClockKept string
	// Open names the listeners without `sources`.
	Open []string
}

// Look reads this host. With a configuration the cards are its interfaces, otherwise those named, and without
// names none. It changes nothing and needs no privilege, but sees more with some.
func Look(c *config.Config, names []string) (Host, error) {
	h := Host{Root: "/", Binary: "culvert"}
	if file, err := os.Executable(); err == nil {
		h.Binary = file
	}
	var err error
	if h.Mask, err = numa.Allowed(); err != nil {
		return h, err
	}
	h.IOUring = tryIOUring()
	given := c
	if c == nil {
		c = config.Default()
	}
	h.Workers = c.Workers
	if given != nil && len(names) == 0 {
		for i := range given.Interfaces {
			names = append(names, given.Interfaces[i].Name)
		}
	}
	for _, name := range names {
		card, err := lookAt(name)
		if err != nil {
			return h, err
		}
		card.configure(given)
		h.Cards = append(h.Cards, card)
	}
	return h, nil
}

func (card *Card) configure(c *config.Config) {
	card.Mode = "auto"
	if c == nil {
		return
	}
	for i := range c.Interfaces {
		if c.Interfaces[i].Name == card.Name {
			card.Mode, card.Served = c.Interfaces[i].Mode, c.Interfaces[i].Queues
			card.BusyPoll = c.Interfaces[i].BusyPoll.On && nic.BusyPolls(card.Driver)
			card.PollRefused = c.Interfaces[i].BusyPoll.On && !card.BusyPoll
			card.Fanout = c.Interfaces[i].QueuesFanout != "none"
		}
	}
	card.TimesOff = !gateway.WantsCardTimes(&c.Probes)
	card.listen(c.Listeners)
	for i := range c.Listeners {
		if len(c.Listeners[i].Sources) == 0 {
			card.Open = append(card.Open, c.Listeners[i].Name)
		}
	}
}

// lookAt asks for all that is judged of a card. What cannot be asked is noted, and the rest is looked at all
// the same.
func lookAt(name string) (Card, error) {
	card := Card{Name: name}
	state, err := attach.Look(name)
	if err != nil || !state.Present {
		return card, err
	}
	card.Present, card.Called, card.Up, card.Index = true, state.Name, state.Up, state.Index
	card.MTU, card.Queues, card.Occupied = state.MTU, state.RXQueues, state.Occupied()
	card.Below = state.Below
	card.Addresses, card.Flows = state.Addresses, flowsTo(state.Addresses)
	card.DefersByQueue = nic.DefersByQueue(state.Index)
	card.Foreign = attach.Occupant(name)
	card.Offer, err = attach.AskOffer(state)
	card.note(err)
	card.Driver, err = nic.Driver(name)
	card.note(err)
	card.Channels, err = nic.AskChannels(name)
	card.note(err)
	card.Rings, err = nic.AskRings(name)
	card.note(err)
	card.Features, err = nic.AskFeatures(name)
	card.note(err)
	card.DefaultRoute, err = nic.CarriesDefaultRoute(name)
	card.note(err)
	card.Times, err = attach.AskCardTimes(state)
	card.note(err)
	if card.Times.Clock != "" {
		card.ClockKept = keptFrom(card.Times.Clock)
	}
	card.Spread = askSpread(name)
	return card, nil
}

// note keeps an error but that of a driver that has no such thing to tell of.
func (card *Card) note(err error) {
	if err != nil && !errors.Is(err, nic.ErrNotOffered) {
		card.Unread = append(card.Unread, err)
	}
}

// tryIOUring asks for a ring without saying where its parameters are: a kernel that would give one finds that
// wrong (EFAULT), any other says first why not.
func tryIOUring() error {
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	if errno == unix.EFAULT || errno == unix.EINVAL {
		return nil
	}
	return fmt.Errorf("ask for an io_uring: %w", errno)
}
