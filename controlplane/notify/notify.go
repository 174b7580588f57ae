package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config is one notifier.
type Config struct {
	Name string
	Type string // alertmanager | webhook | udp | unix | influxdb | log
	// URLs are where a webhook or an InfluxDB's write endpoint is, whole, or the Alertmanagers, up to where
	// /api/v2 begins. Each of several gets every alert, and none of them waits for another.
	URLs []string
	// Authorization (optional) is the head of that name in requests.
	Authorization string
	// Address is where datagrams go: host:port, or the path of a unix socket; @name is an abstract one.
	Address string
	// Format is that of datagrams: FormatJSON, which is also meant by "", or FormatLine.
	Format string
	// External (optional) is the gateway's own URL as its users reach it, for links in alerts.
	External string
	// Limit bounds the notifications of one rule in one second; 0 is no limit.
	Limit int
	// Keys bounds the alerts that are kept track of (optional); 0 is 100 000.
	Keys int
	// Queue bounds the changes that wait where each of them counts, as for type log (optional); 0 is 1024.
	Queue int
	// First and Max say when a failed delivery is repeated (optional): first after 100 ms, each time after
	// twice as long, at most after 5 s.
	First, Max time.Duration
	// Timeout bounds one attempt (optional); 0 is 5 s. A receiver that needs longer gets up to twelve times
	// that.
	Timeout time.Duration
	// Refresh is how often an Alertmanager is told again what fires (optional); 0 is one minute.
	Refresh time.Duration
	// Proxy finds the proxy by which a request goes (optional); nil is http.ProxyFromEnvironment, as in every
	// Go program. It is asked once.
	Proxy func(*http.Request) (*url.URL, error)
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
	def(&c.Keys, 100_000)
	def(&c.Queue, 1024)
	defTime(&c.First, 100*time.Millisecond)
	defTime(&c.Max, 5*time.Second)
	defTime(&c.Timeout, 5*time.Second)
	defTime(&c.Refresh, time.Minute)
	return c
}

// carrier delivers alerts; its notifier's goroutine alone calls it, but for together.
type carrier interface {
	// batchMax is how many alerts one delivery may hold, and together tells whether two may share one.
	batchMax() int
	together(a, b *Alert) bool
	// deliver brings out all of a batch or fails. It calls wired with the time at which the kernel had its
	// last byte, in nanoseconds of CLOCK_MONOTONIC; also when the receiver then refused it. An error that is
	// a permanent says that the receiver will never take the batch as it is.
	deliver(ctx context.Context, batch []*change, wired func(at int64)) error
	close()
}

// notifier is one way out: a queue and the goroutine that empties it. A name with several URLs has as many.
type notifier struct {
	config  Config
	url     string // the one of config.URLs that is served, if there is any
	log     *slog.Logger
	sent    func(a *Alert, at int64)
	carrier carrier
	wake    chan struct{} // holds one token when the queue changed
	closing chan struct{} // closed when the end begins
	cancel  context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended; nil before it began
	heir    *notifier     // that took over what was known here, in a reload

	// patience is how long an answer may take, once the receiver has needed longer than config.Timeout; it is
	// the goroutine's alone.
	patience time.Duration

	changes atomic.Uint64 // how often the queue was looked at, and may have changed
	waiting atomic.Int64  // what waits in the queue, for those without the lock

	mutex      sync.Mutex
	queue      *queue
	closed     bool
	halted     bool                 // what waits is left to an heir
	complained map[string]time.Time // last line in the log by kind
}

// Notifiers are all ways out. Its methods may be called from any goroutine.
type Notifiers struct {
	table  atomic.Pointer[table]
	log    *slog.Logger
	sent   func(a *Alert, at int64)
	ctx    context.Context // of all goroutines
	cancel context.CancelFunc
	// sending is held for reading while an alert is handed out, so that none goes to a notifier that has
	// been replaced.
	sending sync.RWMutex
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
	n := &Notifiers{log: log, sent: sent, unknown: map[string]bool{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	t, err := n.newTable(configs, func(*Config, string) *notifier { return nil })
	if err != nil {
		return nil, err
	}
	n.start(t)
	return n, nil
}

// newNotifier makes a notifier that is not running yet.
func newNotifier(c Config, url string, log *slog.Logger, sent func(*Alert, int64)) (*notifier, error) {
	log = log.With("notifier", c.Name)
	carrier, history, err := newCarrier(c, url, log)
	if err != nil {
		return nil, fmt.Errorf("start notifier %q: %w", c.Name, err)
	}
	refresh := time.Duration(0)
	if c.Type == "alertmanager" {
		refresh = c.Refresh
	}
	return &notifier{
		config: c, url: url, log: log, sent: sent, carrier: carrier, wake: make(chan struct{}, 1),
		closing: make(chan struct{}), queue: newQueue(c, history, refresh),
		complained: map[string]time.Time{},
	}, nil
}

// newCarrier makes what delivers, and says how many changes wait where each of them counts.
func newCarrier(c Config, url string, log *slog.Logger) (_ carrier, history int, err error) {
	switch c.Type {
	case "alertmanager":
		one, err := newAlertmanager(c, url, log)
		return one, 0, err
	case "webhook":
		one, err := newWebhook(c, url, log)
		return one, 0, err
	case "udp", "unix":
		one, err := newSender(c)
		return one, 0, err
	case "influxdb":
		one, err := newInflux(c, url, log)
		return one, c.Queue, err
	case "log":
		return &logger{log: log}, c.Queue, nil
	}
	return nil, 0, fmt.Errorf("%q is none of alertmanager, webhook, udp, unix, influxdb, log", c.Type)
}

// Send hands an alert to the notifiers that its actions name. It never waits.
func (n *Notifiers) Send(a Alert) {
	n.sending.RLock()
	defer n.sending.RUnlock()
	t := n.table.Load()
	if len(a.Actions) == 0 {
		for _, one := range t.logs {
			one.offer(&a)
		}
		return
	}
	for i, action := range a.Actions {
		list := t.byName[action]
		if len(list) == 0 {
			n.complainUnknown(&a, action)
		}
		if slices.Contains(a.Actions[:i], action) {
			continue
		}
		for _, one := range list {
			if slices.Contains(a.Departed, action) {
				one.departed(&a)
			} else {
				one.offer(&a)
			}
		}
	}
}

// complainUnknown says once that an action has no notifier.
func (n *Notifiers) complainUnknown(a *Alert, action string) {
	n.mutex.Lock()
	known := n.unknown[action]
	n.unknown[action] = true
	n.mutex.Unlock()
	if !known {
		n.log.Error("a rule's action names no notifier", "rule", a.Rule, "action", action)
	}
}

// offer puts an alert into the queue and wakes the goroutine that empties it.
func (one *notifier) offer(a *Alert) {
	one.mutex.Lock()
	before := one.queue.counts
	if one.closed {
		one.queue.counts.offered++
		one.queue.counts.left++
	} else {
		one.queue.offer(a, time.Now())
	}
	after := one.queue.counts
	one.unlock()
	select {
	case one.wake <- struct{}{}:
	default:
	}
	switch {
	case after.noRoom > before.noRoom:
		one.complain("room", "an alert is not sent: too many are kept track of", "rule", a.Rule,
			"keys", one.config.Keys, "total", after.noRoom)
	case after.overflowed > before.overflowed:
		one.complain("overflow", "more changes wait than are kept: only each alert's newest state is sent",
			"rule", a.Rule, "queue", one.config.Queue, "total", after.overflowed)
	case after.limited > before.limited:
		one.complain("limit", "alerts exceed the rule's limit and wait", "rule", a.Rule,
			"limit", one.config.Limit, "total", after.limited)
	}
}

// departed notes an alert that its receiver has been sent by another way.
func (one *notifier) departed(a *Alert) {
	one.mutex.Lock()
	one.queue.departed(a, time.Now())
	one.unlock()
}

// unlock shows what waits and lets others at the queue.
func (one *notifier) unlock() {
	one.changes.Add(1)
	one.waiting.Store(int64(one.queue.waiting()))
	one.mutex.Unlock()
}

// Waiting is how many changes wait in the notifier of a name, or nil if there is no one notifier of it.
func (n *Notifiers) Waiting(name string) *atomic.Int64 {
	if list := n.table.Load().byName[name]; len(list) == 1 {
		return &list[0].waiting
	}
	return nil
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

// Close takes no more alerts and waits until what is queued has left or the context ends; the rest is given
// up, and the error says whose and how much. State still holds it. Close may be called twice.
func (n *Notifiers) Close(ctx context.Context) error {
	n.mutex.Lock()
	first := !n.closed
	n.closed = true
	n.mutex.Unlock()
	list := n.table.Load().list
	if first {
		for _, one := range list {
			one.end()
		}
	}
	err := drain(ctx, list)
	n.cancel()
	n.running.Wait()
	return err
}

// drain waits until what is queued in notifiers that end has left, or the context ends; the rest is given up,
// and the error says whose and how much.
func drain(ctx context.Context, list []*notifier) error {
	var cause error
	for _, one := range list {
		select {
		case <-one.done:
			continue
		default:
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			cause = ctx.Err()
		}
	}
	for _, one := range list {
		one.cancel()
		<-one.done
	}
	total, left := 0, []string(nil)
	for _, one := range list {
		if lost := one.leave(); lost > 0 {
			total += lost
			left = append(left, fmt.Sprintf("%d of notifier %q", lost, one.config.Name))
		}
	}
	if total == 0 {
		return nil
	}
	if cause == nil {
		cause = errors.New("the first stop was cut short")
	}
	return fmt.Errorf("deliver the last alerts: %d are left: %s: %w", total, strings.Join(left, ", "), cause)
}

// end lets the goroutine finish once its queue is empty.
func (one *notifier) end() {
	one.mutex.Lock()
	one.closed = true
	close(one.closing)
	one.mutex.Unlock()
	select {
	case one.wake <- struct{}{}:
	default:
	}
}

// leave gives up what waits, after the goroutine has ended.
func (one *notifier) leave() int {
	one.mutex.Lock()
	defer one.mutex.Unlock()
	return one.queue.leave()
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, the clock of the packets' stamps.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("BUG: CLOCK_MONOTONIC is not there: %v", err))
	}
	return t.Nano()
}
