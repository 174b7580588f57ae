package dataplane

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
	"culvert/dataplane/spsc"
	"culvert/numa"
)

const (
	// diskRetry is how long a disk that failed is left alone, in nanoseconds.
	diskRetry = int64(time.Second)
	// ackSync is how often what was acknowledged is made durable while nothing is appended, in nanoseconds.
	// Each time disturbs others who wait for the same disk, often the database; a crash before costs a
	// repetition.
	ackSync = int64(time.Second)
	// openRetry is how often a spool that could not be opened is tried again, in nanoseconds.
	openRetry = int64(10 * time.Second)
	// spoolerRest bounds every sleep of a spooler, in nanoseconds.
	spoolerRest = int64(time.Second)
)

// SpoolerConfig is what a spooler needs.
type SpoolerConfig struct {
	// Open opens the spool. It is called again when it failed, but for spool.ErrHeld.
	Open func() (*spool.Log, spool.Recovery, error)
	// Writer is the target and its policy for what is replayed; the spooler adds the memory.
	Writer influx.Config
	// BatchBytes is how long a request that is replayed gets.
	BatchBytes int
	// Ordered sends one request at a time and lets nothing pass what fails.
	Ordered bool
	// Sync is how often what was appended and acknowledged is forced to disk.
	Sync time.Duration
	// MemoryBytes and MemoryTTL bound what is kept in memory while the disk fails.
	MemoryBytes int64
	MemoryTTL   time.Duration
	// Refusals (optional) are points of what is replayed that the server refused; Lane is the URL's place.
	Refusals *spsc.Ring[Refusal]
	Lane     int
	// Traces (optional) takes what became of traced batches; TraceSeed tells spoolers and runs apart.
	Traces    *TraceRing
	TraceSeed uint64
	// TTL (optional) is how old a point may be by its own time when it is delivered; 0: any age.
	TTL time.Duration
	// Tenants (optional) are the tenants' names, in the order of their numbers; Open has to open with them.
	Tenants []string
	// Ports are the workers'.
	Ports []*SpoolPort
}

// SpoolerState is what a spooler shows of itself. At any time
//
//	Taken + Restored + Adopted = Replayed + Rejected + Dropped + Moved +
//		what waits on disk, in memory and in requests
type SpoolerState struct {
	// SpoolShare is that of all tenants together.
	SpoolShare
	// Disk is the log's own state.
	Disk spool.Stats
	// MemoryPoints and MemoryBytes are kept in memory since the disk takes nothing.
	MemoryPoints, MemoryBytes uint64
	// DiskFailures counts what the disk refused; DiskError is the last, empty while all is well.
	DiskFailures uint64
	DiskError    string
	// ReplayError is why nothing is replayed, empty while something is.
	ReplayError string
	// Recovery is what was found at start.
	Recovery spool.Recovery
	// Shares are the terms of the equation above by tenant, and behind the tenants' that of records that name
	// none of them.
	Shares []SpoolShare
}

// Pending are the points that the spooler answers for, out of what it has taken and restored.
func (s *SpoolerState) Pending() uint64 {
	return s.Restored + s.Taken + s.Adopted - s.Replayed - s.Moved - total(s.Rejected[:]) -
		total(s.Dropped[:])
}

// Spooler keeps on disk what one URL of a sink does not take now, and delivers it later, oldest first. It is
// one thread, which runs on the housekeeping CPUs: no worker ever writes to disk or waits for it.
type Spooler struct {
	config SpoolerConfig
	waker  *Waker
	clock  *Clock

	// The thread's own.
	log      *spool.Log
	diskAt   int64 // the disk is left alone until then
	syncAt   int64
	flusher  diskFlusher
	memory   memoryQueue
	counts   SpoolerState
	shares   []SpoolShare // less what the log knows alone
	replayer replayer
	traces   spoolTraces
	pollSet  []unix.PollFd
	mode     SpoolMode
	heirs    Heirs
	giving   giving    // to heirs; others write to its answers alone
	adopted  []*parcel // that are not durable yet
	most     int64     // what the files may take, if that has changed

	retarget    atomic.Pointer[netip.AddrPort]
	reauthorize atomic.Pointer[string]
	order       atomic.Pointer[spoolOrder]
	limit       atomic.Int64
	inlet       inlet // from other spoolers
	exit        atomic.Bool
	ended       chan struct{}
	closeErr    error

	mutex sync.Mutex
	shown SpoolerState // guarded by the mutex
}

// StartSpooler opens the spool and starts the thread. The only failure of the spool that is returned is that
// another process holds it: with any other the spooler keeps in memory what it can, and tries again.
func StartSpooler(config SpoolerConfig) (*Spooler, error) {
	s := &Spooler{
		config: config, ended: make(chan struct{}),
		memory: memoryQueue{max: config.MemoryBytes, ttl: int64(config.MemoryTTL)},
		shares: make([]SpoolShare, len(config.Tenants)+1),
	}
	s.traces = newSpoolTraces(config.Traces, config.Lane, config.TraceSeed)
	s.shown.Shares = make([]SpoolShare, len(s.shares))
	var err error
	if s.clock, err = NewClock(); err != nil {
		return nil, err
	}
	if s.waker, err = NewWaker(); err != nil {
		return nil, err
	}
	if err := s.openLog(s.clock.Now()); errors.Is(err, spool.ErrHeld) {
		return nil, errors.Join(fmt.Errorf("open spool: %w", err), s.waker.Close())
	}
	for _, p := range config.Ports {
		p.spooler = s.waker
	}
	if config.Writer.Remote != nil {
		remote := *config.Writer.Remote
		remote.Wake = s.waker.Wake
		config.Writer.Remote = &remote
	}
	if err := s.replayer.open(config.Writer, config.BatchBytes); err != nil {
		if s.log != nil {
			err = errors.Join(err, s.log.Close())
		}
		return nil, errors.Join(err, s.waker.Close())
	}
	s.show()
	s.flusher.start(s.waker.Wake)
	go func() {
		defer close(s.ended)
		// It sleeps in the kernel: a thread of its own costs nobody else one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.run()
	}()
	return s, nil
}

// openLog opens the spool and counts what waits in it as restored.
func (s *Spooler) openLog(now int64) error {
	log, found, err := s.config.Open()
	if err != nil {
		s.diskFailed(err, now+openRetry-diskRetry)
		return err
	}
	s.log, s.counts.Recovery, s.counts.DiskError = log, found, ""
	s.counts.Restored += uint64(found.Points)
	if s.most > 0 {
		log.Limit(s.most)
	}
	return nil
}

// diskFailed notes that the disk refused something and leaves it alone for a while.
func (s *Spooler) diskFailed(err error, now int64) {
	s.counts.DiskFailures++
	s.counts.DiskError = err.Error()
	s.diskAt = now + diskRetry
}

// run is the loop. It ends with Close.
func (s *Spooler) run() {
	for !s.exit.Load() {
		now := s.clock.Now()
		s.clock.Measure(now)
		s.follow()
		if s.log == nil && now >= s.diskAt {
			_ = s.openLog(now) // the failure is shown, and tried again
		}
		s.replayer.writer.Poll(now)
		work := s.takeIn(now) + s.adopt(now) + s.toDisk(now) + s.settle(now) + s.onward(now)
		s.sync(now)
		for k, old := s.memory.expire(now); old; k, old = s.memory.expire(now) {
			s.drop(DropTTL, k.tenant, k.points)
		}
		s.show()
		if work == 0 {
			s.rest(now)
		}
	}
	s.finish()
}

// drop counts points of a tenant that are given up.
func (s *Spooler) drop(why Drop, tenant, points int) {
	s.counts.Dropped[why] += uint64(points)
	s.shares[tenant].Dropped[why] += uint64(points)
}

// show lets others see the state.
func (s *Spooler) show() {
	if s.log != nil {
		s.counts.Disk = s.log.Stats()
		s.counts.Dropped[DropCorrupt] = s.counts.Disk.Corrupt
	}
	s.counts.MemoryPoints, s.counts.MemoryBytes = uint64(s.memory.points), uint64(s.memory.bytes)
	if s.counts.ReplayError = s.replayer.writer.LastError(); s.mode != SpoolDeliver {
		s.counts.ReplayError = ""
	}
	if s.counts.Pending() == 0 {
		for _, p := range s.config.Ports {
			p.settled.Store(p.popped)
		}
	}
	s.mutex.Lock()
	shares := s.shown.Shares
	s.shown = s.counts
	s.shown.Shares = s.showShares(shares)
	s.mutex.Unlock()
}

// State is the spooler's state as of one turn's end. Any goroutine may call it.
func (s *Spooler) State() SpoolerState {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	state := s.shown
	state.Shares = slices.Clone(state.Shares)
	return state
}

// follow takes over a new address, a new authorization, another limit and another mode.
func (s *Spooler) follow() {
	r := &s.replayer
	if address := s.retarget.Swap(nil); address != nil {
		r.config.Address = *address
		r.writer.Retarget(*address)
	}
	if value := s.reauthorize.Swap(nil); value != nil {
		// One that is too long is refused by the workers' writers in the same way, and they say so.
		if r.writer.Reauthorize(*value) == nil {
			r.config.Authorization = *value
		}
	}
	if most := s.limit.Swap(0); most > 0 {
		if s.most = most; s.log != nil {
			s.log.Limit(most)
		}
	}
	if order := s.order.Swap(nil); order != nil {
		s.turn(order)
	}
}

// Reauthorize lets what is replayed carry another token.
func (s *Spooler) Reauthorize(value string) {
	s.reauthorize.Store(&value)
	s.waker.Wake()
}

// Retarget lets what is replayed go to another address.
func (s *Spooler) Retarget(address netip.AddrPort) {
	s.retarget.Store(&address)
	s.waker.Wake()
}

// rest sleeps until a worker hands something over, a socket is ready, or something is due.
func (s *Spooler) rest(now int64) {
	s.waker.sleeping.Store(true)
	defer s.waker.sleeping.Store(false)
	s.waker.clear()
	if s.exit.Load() || s.retarget.Load() != nil || s.reauthorize.Load() != nil || s.order.Load() != nil ||
		s.limit.Load() != 0 || s.inlet.waiting.Load() || s.offered() ||
		len(s.giving.records) > 0 && s.giving.answered() ||
		s.flusher.over() || s.replayer.writer.Ready() {
		return
	}
	timeout := unix.NsecToTimespec(max(s.due(now)-now, 0))
	set := append(s.pollSet[:0], unix.PollFd{Fd: int32(s.waker.fd), Events: unix.POLLIN})
	s.pollSet = s.replayer.writer.PollFDs(set)
	// EINTR is answered by the next turn like every other waking.
	_, _ = unix.Ppoll(s.pollSet, &timeout, nil)
}

// offered tells whether a worker has handed something over.
func (s *Spooler) offered() bool {
	for _, p := range s.config.Ports {
		if p.items.Peek() != nil {
			return true
		}
	}
	return false
}

// due is when the next turn must be although nothing happens.
func (s *Spooler) due(now int64) int64 {
	at := min(now+spoolerRest, s.replayer.writer.NextTimer())
	if s.mode == SpoolDeliver {
		at = min(at, s.replayer.due(now))
	}
	if s.giving.nextAt > now {
		at = min(at, s.giving.nextAt)
	}
	if s.syncAt != 0 && !s.flusher.waiting {
		at = min(at, s.syncAt)
	}
	if len(s.memory.records) > 0 {
		at = min(at, s.memory.nextExpiry())
		if s.log != nil {
			at = min(at, s.diskAt)
		}
	}
	if s.log == nil {
		at = min(at, s.diskAt)
	}
	return at
}

// Close ends the thread: what is under way is given up and waits on disk, what is in memory goes there if it
// can. The workers must have ended. It is idempotent.
func (s *Spooler) Close() error {
	s.exit.Store(true)
	s.waker.Wake()
	<-s.ended
	return errors.Join(s.closeErr, s.waker.Close())
}

// finish is the thread's end.
func (s *Spooler) finish() {
	now := s.clock.Now()
	s.takeIn(now)
	s.replayer.writer.Shut(now)
	s.settle(now)
	s.takeHome()
	s.replayer.release(s)
	s.diskAt = math.MinInt64 // one more try
	for len(s.memory.records) > 0 && s.toDisk(now) > 0 {
	}
	for {
		k, ok := s.memory.pop()
		if !ok {
			break
		}
		s.memory.settle(&k)
		s.drop(DropUndelivered, k.tenant, k.points)
	}
	s.endFlusher()
	s.show()
	if s.log != nil {
		if s.closeErr = s.log.Close(); s.closeErr == nil {
			s.tellDurable(math.MaxInt)
		}
		s.log = nil
	}
	s.closeErr = errors.Join(s.closeErr, s.replayer.close())
}

// memoryOf takes memory outside of the Go heap, wherever the kernel puts it.
func memoryOf(size int) (*numa.Memory, error) { return numa.Alloc(size, -1, numa.HugeOff) }
