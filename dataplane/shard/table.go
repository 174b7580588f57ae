package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"
)

const (
	// slotBits of a hash name a slot. With so many a server's share among four deviates by 0.7 % of itself
	// from what is due (the binomial's standard deviation), and the table still fits a core's second cache.
	slotBits = 16
	// MembersMax bounds the servers of one table.
	MembersMax = 64
	// WeightMax is the weight of a server at its best; weights count only in relation to each other.
	WeightMax = 100
)

// Member is one server.
type Member struct {
	// Name is what its bids depend on: its URL, as long as that stays it keeps its slots.
	Name string
	// Weight is its share in relation to the others', up to WeightMax; a server of weight 0 gets nothing.
	Weight int
}

// Table says which server each slot belongs to. It never changes, and any goroutine may read it.
type Table struct {
	slots [1 << slotBits]uint8
}

// NewTable deals the slots out. Servers that share a name would get the same slots: the caller refuses that.
// It takes some milliseconds.
func NewTable(members []Member) (*Table, error) {
	if len(members) == 0 || len(members) > MembersMax {
		return nil, fmt.Errorf("deal series out to %d servers: want 1 to %d", len(members), MembersMax)
	}
	names, total := make([]uint64, len(members)), 0
	for i, m := range members {
		if m.Weight < 0 || m.Weight > WeightMax {
			return nil, fmt.Errorf("deal series out: %q has weight %d, want 0 to %d", m.Name, m.Weight,
				WeightMax)
		}
		names[i], total = xxh3.HashString(m.Name), total+m.Weight
	}
	if total == 0 {
		return nil, errors.New("deal series out: no server has any weight")
	}
	t := new(Table)
	for slot := range t.slots {
		t.slots[slot] = uint8(winner(members, names, slot))
	}
	return t, nil
}

// winner is whose bid for a slot is the best. With u evenly distributed between 0 and 1, the smallest
// −ln(u)/weight among several is a server's with a probability in proportion to its weight.
func winner(members []Member, names []uint64, slot int) int {
	// A weight of 0 makes the bid infinite.
	best, least := 0, math.Inf(1)
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], uint64(slot))
	for i := range members {
		// 53 bits, and never 0.
		u := (float64(xxh3.HashSeed(text[:], names[i])>>11) + 0.5) / (1 << 53)
		if bid := -math.Log(u) / float64(members[i].Weight); bid < least {
			best, least = i, bid
		}
	}
	return best
}

// Find is the server of a series, by its hash: an index into what the table was made of.
func (t *Table) Find(hash uint64) int { return int(t.slots[hash>>(64-slotBits)]) }

// Shares are the parts of all slots that each of n servers has.
func (t *Table) Shares(n int) []float64 {
	shares := make([]float64, n)
	for _, m := range t.slots {
		shares[m] += 1.0 / (1 << slotBits)
	}
	return shares
}

// Moved is the part of all slots that have another server in the table after, where the servers of both are
// the same up to those that only one of them has, at its end.
func (t *Table) Moved(after *Table) float64 {
	moved := 0
	for i := range t.slots {
		if t.slots[i] != after.slots[i] {
			moved++
		}
	}
	return float64(moved) / (1 << slotBits)
}
