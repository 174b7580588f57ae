package notify

import (
	"context"
	"fmt"
)

// table is the notifiers that take alerts. It is not changed once it is in use.
type table struct {
	list   []*notifier
	byName map[string][]*notifier
	logs   []*notifier // for alerts without actions
}

func (t *table) add(one *notifier) {
	t.list = append(t.list, one)
	t.byName[one.config.Name] = append(t.byName[one.config.Name], one)
	if one.config.Type == "log" {
		t.logs = append(t.logs, one)
	}
}

// newTable makes what the configurations ask for; what reuse gives is taken instead of a new one. Nothing of
// it runs yet.
func (n *Notifiers) newTable(configs []Config, reuse func(c *Config, url string) *notifier) (
	t *table, err error) {
	t = &table{byName: map[string][]*notifier{}}
	var fresh []*notifier
	defer func() {
		if err != nil {
			for _, one := range fresh {
				one.carrier.close()
			}
		}
	}()
	make := func(c Config, url string) (*notifier, error) {
		c = c.withDefaults()
		if one := reuse(&c, url); one != nil {
			return one, nil
		}
		one, err := newNotifier(c, url, n.log, n.sent)
		if err == nil {
			fresh = append(fresh, one)
		}
		return one, err
	}
	for _, c := range configs {
		if t.byName[c.Name] != nil {
			return nil, fmt.Errorf("notifier %q is there twice", c.Name)
		}
		urls := c.URLs
		if len(urls) == 0 {
			urls = []string{""}
		}
		for _, url := range urls {
			one, err := make(c, url)
			if err != nil {
				return nil, err
			}
			t.add(one)
		}
	}
	if len(t.logs) == 0 {
		c := Config{Name: builtin, Type: "log", Limit: 1000}
		for t.byName[c.Name] != nil {
			c.Name += "_" // A notifier of another type is called so, and counters go by names.
		}
		one, err := make(c, "")
		if err != nil {
			return nil, err
		}
		t.logs = append(t.logs, one)
		t.list = append(t.list, one) // Not by name: an action has to be configured.
	}
	return t, nil
}

// start lets a table's notifiers run and take alerts.
func (n *Notifiers) start(t *table) {
	for _, one := range t.list {
		n.run(one)
	}
	n.replace(t)
}

// run starts a notifier's goroutine.
func (n *Notifiers) run(one *notifier) {
	ctx, cancel := context.WithCancel(n.ctx)
	one.cancel, one.done = cancel, make(chan struct{})
	n.running.Go(func() {
		defer close(one.done)
		one.run(ctx)
	})
}

// replace puts another table in the place of the one that took alerts.
func (n *Notifiers) replace(t *table) {
	n.sending.Lock()
	defer n.sending.Unlock()
	n.table.Store(t)
}
