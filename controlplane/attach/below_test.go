package attach

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// Goal: a card has a function below it exactly while an interface names it as its master, and both ways of
// saying so, the offer and the error for what is attached already, know it. Method: lists of interfaces; no
// machine here has a card of Hyper-V.
func TestFunctionBelow(t *testing.T) {
	const card = 3
	link := func(index, master int) netlink.Link {
		return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index, MasterIndex: master}}
	}
	for _, c := range []struct {
		links []netlink.Link
		want  bool
	}{
		{nil, false},
		{[]netlink.Link{link(card, 0), link(4, 0)}, false},
		{[]netlink.Link{link(card, 7), link(4, 7)}, false},
		{[]netlink.Link{link(card, 0), link(4, card)}, true},
	} {
		if got := mastered(c.links, card); got != c.want {
			t.Errorf("%d interfaces: %t, want %t", len(c.links), got, c.want)
		}
	}
	for _, below := range []Below{Members, Function} {
		offer, err := AskOffer(State{Index: card, Below: below})
		if err != nil || offer != (Offer{Known: true}) {
			t.Errorf("%d offers %+v, %v", below, offer, err)
		}
		var obstacle *Error
		if err := below.inVain("eth0", "attach", Native); !errors.As(err, &obstacle) ||
			obstacle.Kind != Unsupported || !strings.Contains(err.Error(), "`culvert detach -i eth0`") {
			t.Errorf("%d in native mode: %v", below, err)
		}
		if err := below.inVain("eth0", "attach", Generic); err != nil {
			t.Errorf("%d in generic mode: %v", below, err)
		}
	}
	if err := Itself.inVain("eth0", "attach", Native); err != nil {
		t.Error(err)
	}
	if got := Compare(State{}, State{Below: Function}); got != ChangedBelow {
		t.Errorf("a function that came is change %d, want %d", got, ChangedBelow)
	}
}

// Goal: a list is asked for again while changes interrupt it, and not for ever.
func TestWholeLists(t *testing.T) {
	f := func(interruptions, want int, whether error) {
		t.Helper()
		asked := 0
		list, err := whole(func() ([]int, error) {
			asked++
			if asked <= interruptions {
				return []int{1}, netlink.ErrDumpInterrupted
			}
			return []int{1, 2}, nil
		})
		if asked != want || !errors.Is(err, whether) || err == nil && !slices.Equal(list, []int{1, 2}) {
			t.Errorf("%d interruptions: asked %d times, %v, %v", interruptions, asked, list, err)
		}
	}
	f(0, 1, nil)
	f(2, 3, nil)
	f(9, 5, netlink.ErrDumpInterrupted)
}
