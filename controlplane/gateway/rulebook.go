package gateway

import (
	"slices"
	"sync/atomic"

	"culvert/dataplane/rules"
)

// ruleBook holds the rules that run and, for state changes that are still on their way, those before them.
type ruleBook struct {
	sets atomic.Pointer[[]*rules.Set] // the running ones first
}

// booksKept bounds the rules that are remembered: state changes of the last but one have long arrived, since
// a reload waits for them.
const booksKept = 2

// begin makes rules the running ones, or those to run next.
func (b *ruleBook) begin(set *rules.Set) {
	var before []*rules.Set
	if sets := b.sets.Load(); sets != nil {
		before = *sets
	}
	sets := slices.Insert(slices.Clone(before), 0, set)
	sets = sets[:min(len(sets), booksKept)]
	b.sets.Store(&sets)
}

// takeBack undoes the last begin.
func (b *ruleBook) takeBack() {
	sets := slices.Clone((*b.sets.Load())[1:])
	b.sets.Store(&sets)
}

// current is the running rules; nil for none.
func (b *ruleBook) current() *rules.Set {
	if sets := b.sets.Load(); sets != nil {
		return (*sets)[0]
	}
	return nil
}

// render says in words what a change says, by the rules that made it.
func (b *ruleBook) render(t *rules.Transition) rules.Alert {
	for _, set := range *b.sets.Load() {
		if set != nil && set.ID() == t.Set {
			return set.Render(t)
		}
	}
	return rules.Alert{}
}
