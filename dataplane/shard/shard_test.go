package shard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// decode reads one line.
func decode(t testing.TB, line string) *point.Point {
	t.Helper()
	var d lineproto.Decoder
	p := new(point.Point)
	d.Start([]byte(line), lineproto.Nanosecond, p)
	if outcome := d.Next(p); outcome != lineproto.OK {
		t.Fatalf("%q: outcome %v", line, outcome)
	}
	return p
}

func TestHashIsTheSeries(t *testing.T) {
	const line = `plant,line=a,machine=m1,site=berlin v=1 1`
	want := Hash(decode(t, line))
	same := func(line string) {
		t.Helper()
		if got := Hash(decode(t, line)); got != want {
			t.Errorf("%q hashes to %x, want %x", line, got, want)
		}
	}
	same(`plant,site=berlin,line=a,machine=m1 w=2`)
	same(`plant,machine=m1,site=berlin,line=a v="x y" 99`)
	other := func(line string) {
		t.Helper()
		if got := Hash(decode(t, line)); got == want {
			t.Errorf("%q hashes as another series does", line)
		}
	}
	other(`plant,line=a,machine=m1 v=1`)
	other(`plant v=1`)
	other(`plan,line=a,machine=m1,site=berlin v=1`)
	other(`plant,line=m1,machine=a,site=berlin v=1`)
	other(`plant,line=a,machine=m1,site=berlin,x=y v=1`)
}

// Goal: a tag that was added to the point, or that was written with escapes, counts as the same text in the
// payload does, and the arena stays as it was.
func TestHashOfTagsElsewhere(t *testing.T) {
	p := decode(t, `m,a=b v=1`)
	add := func(s string) point.Span {
		p.ScratchBytes = append(p.ScratchBytes, s...)
		return point.MakeSpan(point.Scratch, len(p.ScratchBytes)-len(s), len(s))
	}
	p.Tags = append(p.Tags, point.Tag{Name: add("site"), Value: add("berlin")})
	scratch := string(p.ScratchBytes)
	if got, want := Hash(p), Hash(decode(t, `m,site=berlin,a=b v=1`)); got != want {
		t.Errorf("an added tag hashes to %x, want %x", got, want)
	}
	if string(p.ScratchBytes) != scratch {
		t.Errorf("the arena is %q, was %q", p.ScratchBytes, scratch)
	}
	escaped, again := decode(t, `m,s=a\ b v=1`), decode(t, `m,s=a\ b v=2 7`)
	if Hash(escaped) != Hash(again) || Hash(escaped) == Hash(decode(t, `m,s=ab v=1`)) {
		t.Error("escapes are not what the hash says")
	}
	if n := testing.AllocsPerRun(100, func() { Hash(escaped) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Goal: the hash is the same in every version, or series would change their servers. Method: one that was
// computed once.
func TestHashStays(t *testing.T) {
	const want uint64 = 0x979e232583b1c191
	if got := Hash(decode(t, `plant,line=l01,sensor=s001 v=1`)); got != want {
		t.Errorf("hash %#x, want %#x", got, want)
	}
}

func members(n int) []Member {
	m := make([]Member, n)
	for i := range m {
		m[i] = Member{Name: fmt.Sprintf("http://db-%d:8086", i), Weight: WeightMax}
	}
	return m
}

func table(t testing.TB, m []Member) *Table {
	t.Helper()
	table, err := NewTable(m)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// million are the hashes of a million series as machines make them, in place of which their text would only
// be in the way.
func million(t testing.TB) []uint64 {
	hashes := make([]uint64, 0, 1_000_000)
	var p point.Point
	var d lineproto.Decoder
	var text strings.Builder
	for i := range cap(hashes) {
		text.Reset()
		fmt.Fprintf(&text, "plant,line=l%02d,machine=m%03d,sensor=s%02d v=1", i/50_000, i/50%1000, i%50)
		d.Start([]byte(text.String()), lineproto.Nanosecond, &p)
		if d.Next(&p) != lineproto.OK {
			t.Fatal(text.String())
		}
		hashes = append(hashes, Hash(&p))
	}
	return hashes
}

// spread is how far the servers of a table of four are from having a quarter each of the series, and the part
// of the series that a fifth server takes over. A series that moves to any other one is an error.
func spread(t testing.TB, four, five *Table, hashes []uint64) (deviation, moved float64) {
	t.Helper()
	var counts [5]int
	taken := 0
	for _, h := range hashes {
		before, after := four.Find(h), five.Find(h)
		counts[before]++
		if before != after {
			taken++
			if after != 4 {
				t.Fatalf("a series moves from server %d to %d, which both were there", before, after)
			}
		}
	}
	squares, share := 0.0, float64(len(hashes))/4
	for _, n := range counts[:4] {
		squares += math.Pow((float64(n)-share)/share, 2)
	}
	return math.Sqrt(squares / 4), float64(taken) / float64(len(hashes))
}

// Goal: a million series spread over four servers with a deviation of at most 1.9 % of a server's share, and
// a fifth server moves at most 21 % of them, all of them to itself.
func TestMillionSeries(t *testing.T) {
	deviation, moved := spread(t, table(t, members(4)), table(t, members(5)), million(t))
	t.Logf("deviation %.2f %%, a fifth server moves %.2f %%", 100*deviation, 100*moved)
	if deviation > 0.019 {
		t.Errorf("deviation %.2f %%", 100*deviation)
	}
	if moved < 0.19 || moved > 0.21 {
		t.Errorf("a fifth server moves %.2f %%", 100*moved)
	}
}

// Goal: that holds whatever the servers are called, and for any number of them. Method: the table's own
// shares for many names.
func TestSharesOfManyNames(t *testing.T) {
	for n := 2; n <= 8; n++ {
		for set := range 12 {
			m := make([]Member, n)
			for i := range m {
				m[i] = Member{Name: fmt.Sprintf("http://10.%d.0.%d:8086", set, i), Weight: WeightMax}
			}
			squares := 0.0
			for _, share := range table(t, m).Shares(n) {
				squares += math.Pow(share*float64(n)-1, 2)
			}
			if deviation := math.Sqrt(squares / float64(n)); deviation > 0.019 {
				t.Errorf("%d servers, set %d: deviation %.2f %%", n, set, 100*deviation)
			}
		}
	}
}

// Goal: shares follow the weights, and a weight that sinks takes slots from its server only, which come back
// to it.
func TestWeights(t *testing.T) {
	m := members(4)
	even := table(t, m)
	m[2].Weight = WeightMax / 4
	uneven := table(t, m)
	shares := uneven.Shares(4)
	for i, want := range []float64{4. / 13, 4. / 13, 1. / 13, 4. / 13} {
		if math.Abs(shares[i]/want-1) > 0.03 {
			t.Errorf("server %d has %.2f %%, want %.2f %%", i, 100*shares[i], 100*want)
		}
	}
	for slot := range even.slots {
		before, after := even.slots[slot], uneven.slots[slot]
		if before != after && before != 2 {
			t.Fatalf("slot %d moves from server %d to %d although neither's weight changed", slot, before,
				after)
		}
	}
	if moved := even.Moved(uneven); math.Abs(moved-(1./4-1./13)) > 0.01 {
		t.Errorf("%.2f %% moved", 100*moved)
	}
}

// Goal: a server of weight 0 gets nothing, wherever it stands, and the others keep what they have and share
// its slots as if it were not there.
func TestWeightOfNothing(t *testing.T) {
	for gone := range 4 {
		m := members(4)
		all := table(t, m)
		m[gone].Weight = 0
		rest := table(t, m)
		without := table(t, slices.Delete(members(4), gone, gone+1))
		for slot := range all.slots {
			before, after, want := int(all.slots[slot]), int(rest.slots[slot]), int(without.slots[slot])
			if want >= gone {
				want++
			}
			if after != want || before != gone && before != after {
				t.Fatalf("without server %d slot %d moves from %d to %d, want %d", gone, slot, before, after,
					want)
			}
		}
	}
}

func TestTableRefuses(t *testing.T) {
	f := func(m []Member) {
		t.Helper()
		if _, err := NewTable(m); err == nil {
			t.Errorf("%v is accepted", m)
		}
	}
	f(nil)
	f(members(MembersMax + 1))
	f([]Member{{"a", 0}, {"b", 0}})
	f([]Member{{"a", -1}, {"b", 1}})
	f([]Member{{"a", WeightMax + 1}})
}

// Goal: whether tags are in order is decided as byte by byte, whatever is behind a name in the payload.
// Method: names that differ at every place up to the ninth, short ones before bytes that come before and
// behind '=', at a payload's end and in the middle of one; each pair both ways, hashed as the same series in
// order.
func TestOrderOfNames(t *testing.T) {
	names := []string{"a", "a!", "a-b", "a1", "aa", "a~", "b", "tag1", "tag10", "tag2", "tagtagta",
		"tagtagtag", "tagtagtb", "tagtagtb0", "tagtagtb1", "ä"}
	for _, one := range names {
		for _, other := range names {
			if one == other {
				continue
			}
			first, second := min(one, other), max(one, other)
			for _, rest := range []string{" f=1", " field=1 1700000000000000000"} {
				want := Hash(decode(t, fmt.Sprintf("m,%s=1,%s=zz%s", first, second, rest)))
				// The value of a tag stands with it, wherever it is.
				values := map[string]string{first: "1", second: "zz"}
				p := decode(t, fmt.Sprintf("m,%s=%s,%s=%s%s", one, values[one], other, values[other], rest))
				if inOrder(p) != (one < other) {
					t.Errorf("%q before %q is in order: %t", one, other, inOrder(p))
				}
				if got := Hash(p); got != want {
					t.Errorf("%q before %q hashes to %#x, want %#x", one, other, got, want)
				}
			}
		}
	}
}
