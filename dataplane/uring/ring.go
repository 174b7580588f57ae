package uring

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrUnavailable tells that this process cannot have an io_uring: the kernel has none,
// kernel.io_uring_disabled forbids it, a seccomp filter, as container runtimes set it, refuses it, or its
// memory is beyond RLIMIT_MEMLOCK. The caller does without.
var ErrUnavailable = errors.New("io_uring is not available")

// Config sizes a Ring.
type Config struct {
	// Entries is how many operations can be queued between two calls of Enter, rounded up to a power of two.
	Entries int
	// CompletionEntries is how many completions wait without overflow; a SendZC takes two. Rounded up to a
	// power of two; 0 means 4 × Entries.
	CompletionEntries int
}

// Ring is one io_uring. It belongs to the thread that made it: the kernel refuses every other one.
type Ring struct {
	fd         int
	flags      uint32
	rings      []byte
	sqes       []byte
	wait       []byte // the argument of EnterWait, in a page of its own
	submission *submission
	completion *completion
	zeroCopy   bool
	usage      bool     // REPORT_USAGE is understood
	ranges     [][]byte // that are registered, by their place in the table; nil: there is no table
}

// New sets up a ring on the calling thread, which the caller has locked. Where io_uring is refused the error
// is ErrUnavailable.
func New(config Config) (_ *Ring, err error) {
	if config.Entries < 1 || config.CompletionEntries < 0 {
		return nil, fmt.Errorf("set up io_uring: %d entries and %d completions", config.Entries,
			config.CompletionEntries)
	}
	if config.CompletionEntries == 0 {
		config.CompletionEntries = 4 * config.Entries
	}
	fd, p, err := climbDown(config)
	if err != nil {
		return nil, err
	}
	r := &Ring{fd: fd, flags: p.flags}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.rings, r.sqes, err = mapRings(fd, &p); err != nil {
		return nil, err
	}
	if r.wait, err = newWaitArgument(); err != nil {
		return nil, err
	}
	array := p.flags&setupNoSQArray == 0
	if r.submission, err = newSubmission(r.rings, r.sqes, p.sqEntries, &p.submission, array); err != nil {
		return nil, err
	}
	if r.completion, err = newCompletion(r.rings, p.cqEntries, &p.completion); err != nil {
		return nil, err
	}
	if p.features&featExtArg == 0 {
		return nil, fmt.Errorf("%w: waiting with a timeout needs Linux 5.11", ErrUnavailable)
	}
	if err = r.probe(); err != nil {
		return nil, err
	}
	return r, nil
}

// climbDown asks for the best set-up that the kernel has: the flags of one step came with the kernel in its
// comment, and an older one answers EINVAL.
func climbDown(config Config) (int, params, error) {
	const base = setupCQSize | setupSubmitAll
	steps := [...]uint32{
		base | setupTaskrunFlag | setupSingleIssuer | setupDeferTaskrun | setupNoSQArray, // 6.6
		base | setupTaskrunFlag | setupSingleIssuer | setupDeferTaskrun,                  // 6.1
		base | setupTaskrunFlag | setupCoopTaskrun,                                       // 5.19
		setupCQSize, // 5.5
	}
	for i, flags := range steps {
		p := params{flags: flags, cqEntries: uint32(config.CompletionEntries)}
		fd, err := setup(config.Entries, &p)
		switch {
		case err == nil:
			return fd, p, nil
		case errors.Is(err, unix.EINVAL) && i < len(steps)-1:
			continue
		case refused(err):
			return -1, p, fmt.Errorf("%w: io_uring_setup: %w", ErrUnavailable, err)
		case errors.Is(err, unix.ENOMEM):
			return -1, p, fmt.Errorf("%w: io_uring_setup with %d entries: %w: raise RLIMIT_MEMLOCK "+
				"(systemd: LimitMEMLOCK=infinity) or give CAP_IPC_LOCK", ErrUnavailable, config.Entries, err)
		default:
			return -1, p, fmt.Errorf("io_uring_setup with %d entries: %w", config.Entries, err)
		}
	}
	panic("BUG: the last step neither returned nor failed")
}

func refused(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// probe finds out which operations there are.
func (r *Ring) probe() error {
	var known probe
	if err := readProbe(r.fd, &known); refused(err) {
		return fmt.Errorf("%w: probe: %w", ErrUnavailable, err)
	} else if err != nil {
		return fmt.Errorf("probe io_uring: %w", err)
	}
	has := func(op int) bool { return known.ops[op].flags&probeSupported != 0 }
	for _, op := range []int{opSendMessage, opAsyncCancel, opConnect, opSend, opRecv} {
		if !has(op) {
			return fmt.Errorf("%w: the kernel lacks operation %d", ErrUnavailable, op)
		}
	}
	r.zeroCopy = has(opSendZC)
	// REPORT_USAGE came in 6.2 without a mark of its own, and an older kernel refuses the send that carries
	// it. The version decides; a kernel that lies about it is found out by the first send.
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("read the kernel's version: %w", err)
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); n == 2 {
		r.usage = major > 6 || major == 6 && minor >= 2
	}
	return nil
}

// Announce has the kernel write to an eventfd whenever Enter has something new to do or Next to take. It is
// for a thread that sleeps on several descriptors: it clears the eventfd, asks Ready, and polls. Polling the
// ring's own descriptor would do only where completions come by themselves: with DEFER_TASKRUN nothing wakes
// the one thread that could bring them forth (io_req_local_work_add in io_uring/io_uring.c signals an eventfd
// alone). It can be called once a ring, and the ring keeps the eventfd open.
func (r *Ring) Announce(event int) error {
	if err := registerEvent(r.fd, event); err != nil {
		return fmt.Errorf("register eventfd: %w", err)
	}
	return nil
}

// Ready tells whether Enter has something to do or Next to take.
func (r *Ring) Ready() bool { return r.completion.waiting() || r.NeedsEnter() }

// Mappings are the ring's memory, to look where it lies; valid until Close.
func (r *Ring) Mappings() [][]byte { return [][]byte{r.rings, r.sqes, r.wait} }

// ZeroCopy tells whether the kernel knows SendZC.
func (r *Ring) ZeroCopy() bool { return r.zeroCopy }

// ReportsUsage tells whether notifications say, by Copied, what the kernel did: since 6.2.
func (r *Ring) ReportsUsage() bool { return r.usage }

// Room makes sure that n operations can be reserved, entering the kernel if the ring is full. It reports
// false when the kernel takes nothing now.
func (r *Ring) Room(n int) bool {
	if r.submission.room() >= n {
		return true
	}
	_ = r.Enter()
	return r.submission.room() >= n
}

// Reserve hands out the next operation to be filled in, or nil when there is no room. It belongs to the
// kernel from the next Enter on.
func (r *Ring) Reserve() *SQE { return r.submission.reserve() }

// SendZC fills in an operation that sends bytes from where they lie. Unless its completion lacks More, the
// bytes must stay as they are until a second completion, with Notification, has come for the same token.
func (r *Ring) SendZC(e *SQE, fd int, bytes []byte, flags uint32, token uint64) {
	e.sendZC(fd, bytes, flags, token)
	if i, ok := r.buffer(bytes); ok {
		e.ioprio |= sendFixedBuffer
		e.buffer = uint16(i)
	}
	if r.usage {
		e.ioprio |= sendReportUsage
	}
}

// NeedsEnter tells whether Enter has something to do: operations are queued, or completions wait that only it
// brings forth.
func (r *Ring) NeedsEnter() bool {
	return r.submission.next != r.submission.head.Load() ||
		r.submission.flags.Load()&(sqTaskrun|sqOverflow) != 0
}

// Enter hands queued operations to the kernel and lets it complete what became ready. It never waits. After
// an error everything is still queued; EINTR, EAGAIN and EBUSY are none: the next Enter goes on.
func (r *Ring) Enter() error { return r.entered(enter(r.fd, r.submit())) }

// EnterWait is Enter that waits for a completion, at most nanoseconds long. It returns at once when one is
// there to be taken. Whoever also waits for other things sleeps on an eventfd instead: see Announce.
func (r *Ring) EnterWait(nanoseconds int64) error {
	if r.completion.waiting() || nanoseconds <= 0 {
		return r.Enter()
	}
	return r.entered(enterWait(r.fd, r.submit(), r.wait, nanoseconds))
}

// submit makes the queued operations and the taken completions known to the kernel.
func (r *Ring) submit() uint32 {
	r.completion.release()
	return r.submission.publish()
}

func (r *Ring) entered(errno unix.Errno) error {
	switch errno {
	case 0, unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ETIME:
		return nil
	}
	return fmt.Errorf("io_uring_enter: %w", errno)
}

// Next takes the oldest completion, if there is one.
func (r *Ring) Next(cqe *CQE) bool { return r.completion.take(cqe) }

// Close gives the ring back. Operations under way are cancelled by the kernel in its own time; whoever needs
// their memory waits for their completions first. Later calls do nothing.
func (r *Ring) Close() error {
	if r.fd < 0 {
		return nil
	}
	var errs []error
	for _, m := range [][]byte{r.rings, r.sqes, r.wait} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	errs = append(errs, unix.Close(r.fd))
	r.fd, r.rings, r.sqes, r.wait = -1, nil, nil, nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close io_uring: %w", err)
	}
	return nil
}
