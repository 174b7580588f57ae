package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/bpf"
	"culvert/bpf/abi"
	"culvert/controlplane/confine"
)

// Options says what to attach to, and how.
type Options struct {
	Interface string
	Mode      Mode
	// ZeroCopy refuses an interface whose driver is known to have no zero-copy (optional).
	ZeroCopy bool
	// PinDir is where `culvert attach` pins (optional): the first of PinDirs that is there if empty.
	PinDir string
	// Seen is whose program was on the interface before this process gave up the privilege to ask (optional).
	Seen Seen
	// StallAfter is how long a worker may show no life before its packets pass to the kernel; 0 is for ever.
	StallAfter time.Duration
	// PacketMax is how many bytes of a packet a frame holds (optional): longer ones pass to the kernel,
	// unless the MTU asks for packets in several frames, which takes native mode and Linux 6.6.
	PacketMax int
	// Fanout is how many sockets each queue has (optional): 0 is one. InTurn deals packets out one by one,
	// and not by sender.
	Fanout int
	InTurn bool
	// CardTime has the program ask the driver for each packet's time by the card's own clock (optional),
	// where kernel and mode allow it. Attachment.CardTime says whether they do.
	CardTime bool
}

// Attachment is the steering program on one interface, with redirect off until the caller switches it on. Its
// methods may be called from any goroutine. It ends in this order, so that no packet meets a socket that is
// going:
//
//	RedirectOff → Detach → (the caller closes its sockets) → Close
type Attachment struct {
	name    string
	lookout *lookout
	state   State // at Open
	driver  string
	steer   *bpf.Steer
	mode    Mode
	adopted bool
	joined  bool  // there is a joint in a dispatcher to adopt
	pieces  bool  // packets may be longer than a frame
	refused error // why not native, in mode auto
	// cardTime says that the driver is asked for the card's time, noCardTime why not, where it was demanded.
	cardTime   bool
	noCardTime error
	seen       Seen

	mu   sync.Mutex
	link link.Link // nil once detached, and where the program is joined
	slot *ebpf.Map // where the joint finds the program; nil once detached, and without a joint
	lock *os.File  // nil unless there is a pin
	done bool
}

// Open attaches the steering program to an interface of the calling thread's network namespace, or adopts the
// link that `culvert attach` pinned. What the user can mend comes as *Error.
func Open(o Options) (_ *Attachment, err error) {
	if err := checkName(o.Interface); err != nil {
		return nil, err
	}
	a := &Attachment{name: o.Interface, seen: o.Seen}
	if a.lookout, err = newLookout(o.Interface); err != nil {
		return nil, fmt.Errorf("attach %q: %w", o.Interface, err)
	}
	defer func() {
		if err != nil {
			a.lookout.close()
		}
	}()
	if a.state, err = a.lookout.look(); err != nil {
		return nil, fmt.Errorf("attach %q: %w", o.Interface, err)
	}
	if !a.state.Present {
		return nil, &Error{Kind: Missing, Interface: o.Interface, Attempt: "attach",
			Problem: "there is no such interface", Remedy: "`ip -br link` lists those there are"}
	}
	if err := a.checkPrivilege(); err != nil {
		return nil, err
	}
	if o.ZeroCopy {
		offer, err := AskOffer(a.state)
		if err == nil {
			err = offer.DemandZeroCopy(o.Interface)
		}
		if err != nil {
			return nil, err
		}
	}
	a.driver = a.lookout.driver()
	a.joined = a.findJoint(o)
	inDriver := !a.willBeGeneric(o.Mode) && !a.joined
	if o.CardTime && !inDriver {
		o.CardTime, a.noCardTime = false, errCardTimeMode
	}
	if err := a.load(o, inDriver && piecesFrom(a.state.MTU, o.PacketMax)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.steer.Close()
		}
	}()
	if err := a.adopt(o); err != nil {
		return nil, err
	}
	if !a.adopted {
		if err := a.attach(o); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// errCardTimeMode is why a program cannot ask for the card's time that could elsewhere.
var errCardTimeMode = errors.New("a program can ask for the card's time in native mode only, and in no " +
	"dispatcher")

// load loads the program, for packets in several pieces or not. One that the kernel does not let ask for the
// card's time is loaded without the question.
func (a *Attachment) load(o Options, pieces bool) error {
	if pieces {
		o.PacketMax = abi.PacketMax
	}
	config := bpf.SteerConfig{
		MAC: a.state.MAC, QueuesMax: a.state.QueuesMax, StallAfter: o.StallAfter,
		PacketMax: o.PacketMax, Fanout: o.Fanout, InTurn: o.InTurn, Pieces: pieces, Joined: a.joined,
	}
	if o.CardTime {
		config.CardTime = a.state.Index
	}
	steer, err := bpf.LoadSteer(config)
	if err != nil && o.CardTime {
		a.noCardTime = fmt.Errorf("the kernel refuses a program that asks for the card's time, which takes "+
			"Linux 6.3: %w", err)
		config.CardTime = 0
		steer, err = bpf.LoadSteer(config)
	}
	if err != nil {
		return a.explain(err)
	}
	a.steer, a.pieces, a.cardTime = steer, pieces, config.CardTime > 0
	return nil
}

// willBeGeneric tells whether the mode is known to be generic beforehand: asked for, or a pinned link's.
func (a *Attachment) willBeGeneric(mode Mode) bool {
	return mode == Generic || a.state.program.mode == attachedGeneric
}

// attach makes a link of its own, held by its descriptor.
func (a *Attachment) attach(o Options) error {
	mode := o.Mode
	if a.state.Occupied() {
		return a.foreign()
	}
	if mode != Generic {
		err := a.tryNative()
		var refused *Error
		if !errors.As(err, &refused) || refused.Kind != Unsupported || mode == Native {
			return err
		}
		a.refused = refused
	}
	if a.pieces || a.cardTime {
		if a.cardTime {
			o.CardTime, a.noCardTime = false, errCardTimeMode
		}
		if err := errors.Join(a.steer.Close(), a.load(o, false)); err != nil {
			return err
		}
	}
	err := a.tryMode(Generic)
	if err != nil && refusedByDriver(err) {
		return &Error{Kind: Unsupported, Interface: a.name, Attempt: "attach",
			Problem: "the kernel refuses even generic XDP", Remedy: "use mode socket", Err: err}
	}
	return a.explain(err)
}

// tryNative attaches in the driver. Where that is not to be had the error is an *Error of kind Unsupported.
func (a *Attachment) tryNative() error {
	refused := &Error{Kind: Unsupported, Interface: a.name, Attempt: "attach"}
	if a.state.Below != Itself {
		refused.Problem, refused.Remedy = a.state.Below.whyNot()
		return refused
	}
	err := a.tryMode(Native)
	if err == nil || !refusedByDriver(err) {
		return a.explain(err)
	}
	refused.Problem, refused.Remedy = whyNotNative(err, a.name, a.driver, a.state.MTU)
	refused.Err = err
	return refused
}

func (a *Attachment) tryMode(mode Mode) error {
	made, err := link.AttachXDP(link.XDPOptions{
		Program: a.steer.Program(), Interface: a.state.Index, Flags: mode.flags(),
	})
	if err != nil {
		return err
	}
	a.link, a.mode = made, mode
	return nil
}

// explain turns the kernel's answer into one that the user can act on.
func (a *Attachment) explain(err error) error {
	var rejected *ebpf.VerifierError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &rejected):
		// The verifier says EACCES, too, and privileges would not mend it.
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		// Somebody attached between our look and our attempt: look again to name them.
		if state, lookErr := a.lookout.look(); lookErr == nil {
			a.state = state
		}
		return a.foreign()
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return &Error{Kind: Privilege, Interface: a.name, Attempt: "attach",
			Problem: "the kernel does not permit it",
			Remedy:  "it takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN of the initial user namespace",
			Err:     err}
	case errors.Is(err, unix.ENODEV):
		return &Error{Kind: Missing, Interface: a.name, Attempt: "attach",
			Problem: "the interface went away", Err: err}
	}
	return fmt.Errorf("attach %q: %w", a.name, err)
}

// checkPrivilege names the capabilities that are missing, because the kernel only says EPERM.
func (a *Attachment) checkPrivilege() error {
	missing, err := confine.Missing(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN)
	if err != nil || len(missing) == 0 {
		return err
	}
	return &Error{Kind: Privilege, Interface: a.name, Attempt: "attach",
		Problem: "this process lacks " + confine.Explain(missing),
		Remedy:  "run as root, or grant it by AmbientCapabilities= in the unit", Err: unix.EPERM}
}

// foreign names whose program is on the interface.
func (a *Attachment) foreign() error {
	on := a.state.program
	e := &Error{Kind: Foreign, Interface: a.name, Attempt: "attach"}
	e.Remedy = fmt.Sprintf("remove it with the tool that put it there, or `ip link set %s xdp off`", a.name)
	where := "several modes"
	if mode, known := kernelMode(on.mode); known {
		where = mode.String() + " mode"
	} else if on.mode == attachedOffload {
		where = "the NIC itself"
	}
	seen := see(a.state)
	if seen.name == "" && a.seen.id == on.id {
		seen = a.seen
	}
	switch name := seen.name; name {
	case bpf.ProgramName:
		e.Kind = Busy
		e.Problem = fmt.Sprintf("another culvert gateway is attached (program id %d, %s)", on.id, where)
		e.Remedy = "stop that gateway; if it is pinned in another mount namespace, `culvert detach` there"
	case bpf.DispatcherName:
		e.Problem = fmt.Sprintf("libxdp's dispatcher is attached (program %q, id %d, %s)", name, on.id, where)
		if len(seen.runs) > 0 {
			e.Problem += " and runs " + strings.Join(seen.runs, ", ")
		}
		e.Remedy = fmt.Sprintf("`culvert attach -i %s` as root joins them; or set `mode: socket` for this "+
			"interface", a.name)
		if slices.Contains(seen.runs, bpf.JointName) {
			e.Kind = Busy
			e.Remedy = fmt.Sprintf("culvert has joined them, for another user: run as the one to whom %s "+
				"belongs, or `culvert detach -i %s` as root, and attach anew", ServicePinDir, a.name)
		}
	case "":
		const unnamed = "another XDP program is attached (id %d, %s; to read its name takes CAP_SYS_ADMIN)"
		e.Problem = fmt.Sprintf(unnamed, on.id, where)
		e.Remedy += fmt.Sprintf("; or, as root, `culvert attach -i %s` if it is libxdp's dispatcher, "+
			"`culvert detach -i %s` if it is one that `culvert attach` pinned", a.name, a.name)
	default:
		e.Problem = fmt.Sprintf("another XDP program is attached (%q, id %d, %s)", name, on.id, where)
	}
	return e
}

// Steer is the program and its maps. It is valid until Close.
func (a *Attachment) Steer() *bpf.Steer { return a.steer }

// Mode is the effective mode: Native or Generic.
func (a *Attachment) Mode() Mode { return a.mode }

// Pieces tells whether packets may be longer than a frame: then sockets must take them in several.
func (a *Attachment) Pieces() bool { return a.pieces }

// CardTime tells whether the driver is asked for each packet's time by the card's clock. Where it was
// demanded and is not, the error says why.
func (a *Attachment) CardTime() (bool, error) { return a.cardTime, a.noCardTime }

// NativeRefused says why mode auto fell back to generic; nil where it did not.
func (a *Attachment) NativeRefused() error { return a.refused }

// Adopted tells whether the link was pinned before and stays when this Attachment ends.
func (a *Attachment) Adopted() bool { return a.adopted }

// Name is the interface's name.
func (a *Attachment) Name() string { return a.name }

// Index is the interface's index.
func (a *Attachment) Index() int { return a.state.Index }

// Driver is the name of the interface's driver, or "" where it has none.
func (a *Attachment) Driver() string { return a.driver }

// MAC is the interface's address at Open. Watch reports a later one.
func (a *Attachment) MAC() [6]byte { return a.state.MAC }

// RXQueues is how many receive queues were in use at Open. Watch reports changes.
func (a *Attachment) RXQueues() int { return a.state.RXQueues }

// Addresses are the interface's own at Open, of both families. Watch reports changes.
func (a *Attachment) Addresses() []netip.Addr { return a.state.Addresses }

// State is how the interface was at Open.
func (a *Attachment) State() State { return a.state }

// Lost tells whether somebody took the program off its interface, which an administrator can do to any link,
// or whether another is in its place.
func (a *Attachment) Lost() (bool, error) {
	about, err := a.steer.Program().Info()
	if err != nil {
		return false, fmt.Errorf("look at the program of %q: %w", a.name, err)
	}
	state, err := a.lookout.look()
	if err != nil {
		return false, err
	}
	if a.joined {
		return a.state.program.id != state.program.id && state.Present && !a.stillJoined(state), nil
	}
	id, _ := about.ID()
	// Beside a program on the NIC itself the kernel names none.
	return state.Present && state.program.id != uint32(id) && state.program.mode != attachedSeveral, nil
}

// RedirectOff makes everything pass to the kernel: the first step of the end.
func (a *Attachment) RedirectOff() error {
	if err := a.steer.SetRedirect(false); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("detach %q: %w", a.name, err)
	}
	return nil
}

// Detach takes the program off the interface, unless the link was adopted: then it stays, with redirect off.
// An interface that went away is no error, nor is a second call.
func (a *Attachment) Detach() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slot != nil {
		err := a.leaveSlot()
		a.slot = nil
		return err
	}
	if a.link == nil {
		return nil
	}
	// Nothing else holds a link that is not pinned: closing it detaches before it returns.
	err := a.link.Close()
	a.link = nil
	if err != nil {
		return fmt.Errorf("detach %q: %w", a.name, err)
	}
	return nil
}

// Close does what was not yet done of RedirectOff and Detach, and lets go of the program, its maps and the
// pin's lock. Close may be called twice.
func (a *Attachment) Close() error {
	err := errors.Join(a.RedirectOff(), a.Detach())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return err
	}
	a.done = true
	err = errors.Join(err, a.steer.Close())
	if a.lock != nil {
		err = errors.Join(err, a.lock.Close())
	}
	a.lookout.close()
	return err
}
