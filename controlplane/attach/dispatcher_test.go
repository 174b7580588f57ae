package attach

import (
	"slices"
	"testing"

	"culvert/bpf"
)

// Goal: a program gets the place that libxdp would give it: by priority, then by name.
func TestInsertByPriority(t *testing.T) {
	f := func(priority uint32, name string, before []member, want ...string) {
		t.Helper()
		kept := slices.Clone(before)
		after := insert(before, member{name: name, slot: bpf.DispatcherSlot{Priority: priority}})
		var names []string
		for _, m := range after {
			names = append(names, m.name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q of priority %d: %v, want %v", name, priority, names, want)
		}
		if !slices.EqualFunc(kept, before, func(a, b member) bool { return a.name == b.name }) {
			t.Errorf("%q of priority %d: the old row changed", name, priority)
		}
	}
	at := func(priority uint32, name string) member {
		return member{name: name, slot: bpf.DispatcherSlot{Priority: priority}}
	}
	row := []member{at(10, "filter"), at(50, "abc"), at(50, "xyz"), at(60, "last")}
	f(50, "culvert_joint", nil, "culvert_joint")
	f(50, "culvert_joint", row, "filter", "abc", "culvert_joint", "xyz", "last")
	f(5, "culvert_joint", row, "culvert_joint", "filter", "abc", "xyz", "last")
	f(70, "culvert_joint", row, "filter", "abc", "xyz", "last", "culvert_joint")
	f(60, "zzz", row, "filter", "abc", "xyz", "last", "zzz")
}
