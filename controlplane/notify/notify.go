package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config is one notifier.
type Config struct {
	Name string
	Type string // log | webhook | udp
	URL  string // of a webhook
	// Address is where datagrams go, host:port.
	Address string
	// Limit bounds the notifications of one rule in one second; 0 is no limit.
	Limit int
	// Queue bounds what waits (optional); 0 is 1024.
	Queue int
	// Attempts, First and Max say how a failed delivery is repeated (optional): in all 8 times, first after
	// 100 ms, each time after twice as long, at most after 5 s.
	Attempts   int
	First, Max time.Duration
	// Timeout bounds one attempt (optional); 0 is 5 s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	def := func(value *int, otherwise int) {
		if *value == 0 {
			*value = otherwise
		}
	}
	defTime := func(value *time.Duration, otherwise time.Duration) {
		if *value == 0 {
			*value = otherwise
		}
	}
	def(&c.Queue, 1024)
	def(&c.Attempts, 8)
	defTime(&c.First, 100*time.Millisecond)
	defTime(&c.Max, 5*time.Second)
	defTime(&c.Timeout, 5*time.Second)
	return c
}

// Stats are one notifier's counters, in alerts.
type Stats struct {
	Name, Type string
	Delivered  uint64
	Failed     uint64            // given up after the last attempt, refused by the receiver, or left at Close
	Overflowed uint64            // found the queue full
	Limited    uint64            // exceeded the rule's limit
	Queued     uint64            // waiting or on their way now
	ByRule     map[string]uint64 // delivered, by rule
}

// Lost is what will never be delivered.
func (s *Stats) Lost() uint64 { return s.Failed + s.Overflowed + s.Limited }

// queued is an alert on its way through one notifier.
type queued struct {
	Alert
	sent bool // the hook has been told
}

// carrier delivers alerts; its notifier's goroutine alone calls it.
type carrier interface {
	// batchMax is how many alerts of one rule one delivery may hold.
	batchMax() int
	// deliver brings out all of a batch or fails. It calls wired with the time at which the kernel had its
	// last byte, in nanoseconds of CLOCK_MONOTONIC; also when the receiver then refused it.
	deliver(ctx context.Context, batch []queued, wired func(at int64)) error
	close()
}

// notifier is one way out: a queue and the goroutine that empties it.
type notifier struct {
	config  Config
	log     *slog.Logger
	sent    func(a *Alert, at int64)
	carrier carrier
	queue   chan queued

	limits map[string]*bucket // by rule; Send's, under the lock of Notifiers

	overflowed, limited, failed, delivered, waiting atomic.Uint64

	mutex  sync.Mutex
	byRule map[string]uint64

	complained map[string]time.Time // last line in the log by kind; guarded by mutex
}

// Notifiers are all ways out. Send, Stats and Close may be called from any goroutine.
type Notifiers struct {
	list    []*notifier
	byName  map[string]*notifier
	logs    []*notifier // for alerts without actions
	log     *slog.Logger
	cancel  context.CancelFunc
	running sync.WaitGroup

	mutex   sync.Mutex
	closed  bool
	unknown map[string]bool // actions without a notifier that were complained about
}

// builtin is the name of the notifier for alerts without actions where none of type log is configured.
const builtin = "log"

// New starts the notifiers. It opens nothing that could fail later as well: a receiver that is not there now
// may come. The hook sent (optional) hears of each alert as it is handed to the wire, with the time on
// CLOCK_MONOTONIC in nanoseconds; each notifier calls it from a goroutine of its own.
func New(configs []Config, log *slog.Logger, sent func(a *Alert, at int64)) (*Notifiers, error) {
	if sent == nil {
		sent = func(*Alert, int64) {}
	}
	n := &Notifiers{byName: map[string]*notifier{}, log: log, unknown: map[string]bool{}}
	for _, c := range configs {
		if n.byName[c.Name] != nil {
			return nil, fmt.Errorf("notifier %q is there twice", c.Name)
		}
		one, err := newNotifier(c.withDefaults(), log, sent)
		if err != nil {
			return nil, err
		}
		n.add(one)
	}
	if len(n.logs) == 0 {
		name := builtin
		for n.byName[name] != nil {
			name += "_" // Somebody has called a webhook "log"; metrics tell notifiers apart by name.
		}
		one, err := newNotifier(Config{Name: name, Type: "log", Limit: 1000}.withDefaults(), log, sent)
		if err != nil {
			return nil, err
		}
		n.logs = append(n.logs, one)
		n.list = append(n.list, one) // Not by name: an action has to be configured.
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	for _, one := range n.list {
		n.running.Go(func() { one.run(ctx) })
	}
	return n, nil
}

func (n *Notifiers) add(one *notifier) {
	n.list = append(n.list, one)
	n.byName[one.config.Name] = one
	if one.config.Type == "log" {
		n.logs = append(n.logs, one)
	}
}

func newNotifier(c Config, log *slog.Logger, sent func(*Alert, int64)) (*notifier, error) {
	one := &notifier{
		config: c, log: log.With("notifier", c.Name), sent: sent, queue: make(chan queued, c.Queue),
		limits: map[string]*bucket{}, byRule: map[string]uint64{}, complained: map[string]time.Time{},
	}
	var err error
	switch c.Type {
	case "log":
		one.carrier = &logger{log: one.log}
	case "webhook":
		one.carrier, err = newWebhook(c)
	case "udp":
		one.carrier, err = newSender(c)
	default:
		err = fmt.Errorf("%q is none of log, webhook, udp", c.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("start notifier %q: %w", c.Name, err)
	}
	return one, nil
}

// Send hands an alert to the notifiers that its actions name. It never waits.
func (n *Notifiers) Send(a Alert) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	now := time.Now()
	if len(a.Actions) == 0 {
		for _, one := range n.logs {
			one.offer(a, now, n.closed)
		}
		return
	}
	for i, action := range a.Actions {
		one := n.byName[action]
		switch {
		case one != nil && !slices.Contains(a.Actions[:i], action):
			one.offer(a, now, n.closed)
		case one == nil && !n.unknown[action]:
			n.unknown[action] = true
			n.log.Error("a rule's action names no notifier", "rule", a.Rule, "action", action)
		}
	}
}

// offer puts an alert into the queue, or counts why not.
func (one *notifier) offer(a Alert, now time.Time, closed bool) {
	if closed {
		one.failed.Add(1)
		return
	}
	if one.config.Limit > 0 {
		b := one.limits[a.Rule]
		if b == nil {
			b = newBucket(one.config.Limit, now)
			one.limits[a.Rule] = b
		}
		if !b.take(now) {
			one.limited.Add(1)
			one.complain("limit", "an alert exceeded the rule's limit and is not sent", "rule", a.Rule,
				"limit", one.config.Limit, "total", one.limited.Load())
			return
		}
	}
	one.waiting.Add(1)
	select {
	case one.queue <- queued{Alert: a}:
	default:
		one.waiting.Add(^uint64(0))
		one.overflowed.Add(1)
		one.complain("overflow", "an alert found the notifier's queue full and is not sent", "rule", a.Rule,
			"queue", one.config.Queue, "total", one.overflowed.Load())
	}
}

// complainEvery is how often one kind of trouble is logged; the lines carry totals.
const complainEvery = 10 * time.Second

func (one *notifier) complain(kind, message string, arguments ...any) {
	one.mutex.Lock()
	now := time.Now()
	last, before := one.complained[kind]
	due := !before || now.Sub(last) >= complainEvery
	if due {
		one.complained[kind] = now
	}
	one.mutex.Unlock()
	if due {
		one.log.Warn(message, arguments...)
	}
}

// Stats are the counters of all notifiers, in the order of the configuration.
func (n *Notifiers) Stats() []Stats {
	stats := make([]Stats, 0, len(n.list))
	for _, one := range n.list {
		s := Stats{
			Name: one.config.Name, Type: one.config.Type, Failed: one.failed.Load(),
			Limited: one.limited.Load(), Overflowed: one.overflowed.Load(), Queued: one.waiting.Load(),
			ByRule: map[string]uint64{},
		}
		one.mutex.Lock()
		s.Delivered = one.delivered.Load()
		for rule, count := range one.byRule {
			s.ByRule[rule] = count
		}
		one.mutex.Unlock()
		stats = append(stats, s)
	}
	return stats
}

// Close takes no more alerts and waits until what is queued has left or the context ends; the rest is given
// up. It returns an error if something was. Close may be called twice.
func (n *Notifiers) Close(ctx context.Context) error {
	n.mutex.Lock()
	if !n.closed {
		n.closed = true
		for _, one := range n.list {
			close(one.queue)
		}
	}
	n.mutex.Unlock()
	done := make(chan struct{})
	go func() {
		n.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		n.cancel()
		return nil
	case <-ctx.Done():
	}
	var left uint64
	for _, one := range n.list {
		left += one.waiting.Load()
	}
	n.cancel()
	<-done
	if left > 0 {
		return fmt.Errorf("deliver the last alerts: %d are left: %w", left, ctx.Err())
	}
	return nil
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, the clock of the packets' stamps.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("BUG: CLOCK_MONOTONIC is not there: %v", err))
	}
	return t.Nano()
}
