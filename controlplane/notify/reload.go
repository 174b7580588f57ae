package notify

import (
	"context"
	"reflect"
	"slices"
	"time"
)

// Reload is a change of the notifiers under way, from PrepareReload over Begin to Finish or Undo.
type Reload struct {
	// Added, Changed, Removed and Kept are names, in the order of the configuration.
	Added, Changed, Removed, Kept []string

	notifiers *Notifiers
	before    *table
	next      *table
	fresh     []*notifier // of next, not running yet
	old       []*notifier // that next has no more
}

// PrepareReload makes what the configurations ask for beside what runs; nothing changes yet. A notifier whose
// configuration is as it was goes on as it is. Reloads come one at a time.
func (n *Notifiers) PrepareReload(configs []Config) (*Reload, error) {
	now := n.table.Load()
	r := &Reload{notifiers: n, before: now}
	next, err := n.newTable(configs, func(c *Config, url string) *notifier {
		for _, one := range now.list {
			if one.is(c, url) {
				return one
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.next = next
	for _, one := range next.list {
		if !slices.Contains(now.list, one) {
			r.fresh = append(r.fresh, one)
		}
	}
	for _, one := range now.list {
		if !slices.Contains(next.list, one) {
			r.old = append(r.old, one)
		}
	}
	for _, c := range configs {
		switch before := now.byName[c.Name]; {
		case before == nil:
			r.Added = append(r.Added, c.Name)
		case slices.Equal(before, next.byName[c.Name]):
			r.Kept = append(r.Kept, c.Name)
		default:
			r.Changed = append(r.Changed, c.Name)
		}
	}
	for _, one := range now.list {
		name := one.config.Name
		if now.byName[name] != nil && next.byName[name] == nil && !slices.Contains(r.Removed, name) {
			r.Removed = append(r.Removed, name)
		}
	}
	return r, nil
}

// is tells whether a notifier is what a configuration asks for, with one of its URLs.
func (one *notifier) is(c *Config, url string) bool {
	a, b := one.config, *c
	a.URLs, b.URLs = nil, nil
	return one.url == url && reflect.DeepEqual(a, b)
}

// Undo gives up a reload that has begun, before Finish. Alerts that went to new names meanwhile are theirs to
// deliver until the context ends.
func (r *Reload) Undo(ctx context.Context) error {
	r.notifiers.replace(r.before)
	var running []*notifier
	for _, one := range r.fresh {
		if one.done == nil {
			one.carrier.close()
			continue
		}
		one.end()
		running = append(running, one)
	}
	return drain(ctx, running)
}

// Begin lets alerts go to the names that are new, while all others still go where they went.
func (r *Reload) Begin() {
	n, now := r.notifiers, r.before
	both := &table{list: slices.Clone(now.list), byName: map[string][]*notifier{}, logs: now.logs}
	for _, list := range []map[string][]*notifier{r.next.byName, now.byName} {
		for name, ones := range list {
			both.byName[name] = ones
		}
	}
	for _, one := range r.fresh {
		if now.byName[one.config.Name] == nil && both.byName[one.config.Name] != nil {
			both.list = append(both.list, one)
			n.run(one)
		}
	}
	n.replace(both)
}

// Finish lets all alerts go where the new configurations say. The receiver of a notifier that changed is told
// what fires; where that is the same receiver, it is told what it does not know already. Receivers that are
// gone are told what waits for them until the context ends; what is left is counted in the error.
func (r *Reload) Finish(ctx context.Context) error {
	n := r.notifiers
	running := n.table.Load().list
	n.replace(r.next)
	for _, one := range r.fresh {
		for _, before := range r.old {
			if before.config.Name == one.config.Name && before.reaches(one) {
				before.halt()
				one.inherit(before)
			}
		}
	}
	for _, one := range r.fresh {
		n.adopt(one, r.old)
		if !slices.Contains(running, one) {
			n.run(one)
		}
	}
	for _, one := range r.old {
		if one.heir == nil {
			one.end()
		}
	}
	return drain(ctx, r.old)
}

// adopt tells a notifier that took another's name what fires, unless it has the other's knowledge.
func (n *Notifiers) adopt(one *notifier, old []*notifier) {
	for _, before := range old {
		if before.config.Name != one.config.Name || before.heir != nil {
			continue
		}
		before.mutex.Lock()
		var firing []Alert
		for _, e := range before.queue.entries {
			if a := before.queue.newestAlert(e); a != nil && a.Firing {
				again := *a
				again.Arrival, again.Departed = 0, nil
				firing = append(firing, again)
			}
		}
		before.mutex.Unlock()
		slices.SortFunc(firing, func(a, b Alert) int { return a.Since.Compare(b.Since) })
		for i := range firing {
			one.learn(&firing[i])
		}
	}
}

// learn offers what fires, unless there was news of that alert already.
func (one *notifier) learn(a *Alert) {
	one.mutex.Lock()
	known := one.queue.entries[a.Fingerprint] != nil
	one.mutex.Unlock()
	if !known {
		one.offer(a)
	}
}

// reaches tells whether two notifiers have the same receiver.
func (one *notifier) reaches(other *notifier) bool {
	a, b := &one.config, &other.config
	return a.Type == b.Type && one.url == other.url && a.Address == b.Address &&
		a.Authorization == b.Authorization
}

// halt lets the goroutine finish what is under way, within one attempt's timeout, and leaves the rest in the
// queue.
func (one *notifier) halt() {
	one.mutex.Lock()
	one.halted = true
	one.mutex.Unlock()
	one.end()
	<-one.done
}

// inherit takes over what another notifier, which has halted, knows of the same receiver, and what waits.
func (one *notifier) inherit(before *notifier) {
	now := time.Now()
	before.mutex.Lock()
	defer before.mutex.Unlock()
	one.mutex.Lock()
	defer one.unlock()
	for fingerprint, e := range before.queue.entries {
		if one.queue.entries[fingerprint] != nil {
			continue // There was news of it.
		}
		var known, pending *Alert
		if e.knows == knowsFiring {
			known = e.state
		}
		if e.last != nil {
			pending = e.last.Alert
		}
		one.queue.restore(known, pending, now)
		if heir := one.queue.entries[fingerprint]; heir != nil {
			heir.restored = false
		}
	}
	before.queue.leave()
	before.heir = one
}
