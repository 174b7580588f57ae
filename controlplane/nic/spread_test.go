package nic

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fakeCard is a driver in memory, behind the kernel's requests.
type fakeCard struct {
	hash      map[uint32]uint64
	queues    int
	table     []uint32
	ownTable  []uint32 // what it makes of the kernel's own table (optional)
	transform byte
	rules     map[uint32][]byte // struct ethtool_rx_flow_spec by location
	locations uint64            // as the count of rules tells
	listed    uint64            // as the list of rules tells
	refuses   map[uint32]error
	requests  [][]byte
}

func (c *fakeCard) serve(request []byte) error {
	c.requests = append(c.requests, slices.Clone(request))
	command := get32(request, 0)
	if err := c.refuses[command]; err != nil {
		return err
	}
	switch command {
	case commandHash:
		binary.NativeEndian.PutUint64(request[classifyNumber:], c.hash[get32(request, classifyFlow)])
	case commandHashSet:
		c.hash[get32(request, classifyFlow)] = binary.NativeEndian.Uint64(request[classifyNumber:])
	case commandRXRings:
		binary.NativeEndian.PutUint64(request[classifyNumber:], uint64(c.queues))
	case commandSpread, commandSpreadSet:
		return c.spread(command, request)
	case commandRuleCount:
		put32(request, classifyCount, uint32(len(c.rules)))
		binary.NativeEndian.PutUint64(request[classifyNumber:], c.locations)
	case commandRules:
		if int(get32(request, classifyCount)) < len(c.rules) {
			return unix.EMSGSIZE
		}
		put32(request, classifyCount, uint32(len(c.rules)))
		binary.NativeEndian.PutUint64(request[classifyNumber:], c.listed)
		for i, location := range slices.Sorted(maps.Keys(c.rules)) {
			put32(request, classifyLocations+4*i, location)
		}
	default:
		return c.rule(command, request[classifySpec:classifyCount])
	}
	return nil
}

func (c *fakeCard) spread(command uint32, request []byte) error {
	entries := get32(request, spreadEntries)
	if entries != 0 && int(entries) != len(c.table) {
		return unix.EINVAL
	}
	if command == commandSpread {
		put32(request, spreadEntries, uint32(len(c.table)))
		request[spreadTransform] = c.transform
		for i := range int(entries) {
			put32(request, spreadBytes+4*i, c.table[i])
		}
		return nil
	}
	c.transform = request[spreadTransform]
	if entries == 0 {
		c.table = everyQueue(c.queues, len(c.table))
		if c.ownTable != nil {
			c.table = slices.Clone(c.ownTable)
		}
	}
	for i := range int(entries) {
		c.table[i] = get32(request, spreadBytes+4*i)
	}
	return nil
}

func (c *fakeCard) rule(command uint32, spec []byte) error {
	location := get32(spec, specLocation)
	there, taken := c.rules[location]
	switch {
	case command == commandRuleInsert:
		c.rules[location] = slices.Clone(spec)
	case !taken:
		return unix.ENOENT
	case command == commandRule:
		copy(spec, there)
	case command == commandRuleDelete:
		delete(c.rules, location)
	default:
		return unix.EOPNOTSUPP
	}
	return nil
}

func newFakeCard() *fakeCard {
	return &fakeCard{hash: map[uint32]uint64{}, queues: 8, table: everyQueue(8, 8), locations: 64,
		rules: map[uint32][]byte{}}
}

// ethtools reads what ethtool hands to the kernel, by its command line: two digits for each byte, or "..".
func ethtools(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/ethtool.golden")
	if err != nil {
		t.Fatal(err)
	}
	recorded, line := map[string]string{}, ""
	for part := range strings.Lines(string(text)) {
		part = strings.TrimSpace(part)
		if command, is := strings.CutPrefix(part, "$ ethtool "); is {
			line = command
		} else if line != "" {
			recorded[line] += strings.ReplaceAll(part, " ", "")
		}
	}
	return recorded
}

// Goal: what we ask of a driver is, byte for byte, what ethtool asks. Method: ethtool's requests as they were
// recorded (testdata/ethtool.golden says how), and ours to a card in memory with as many queues and entries.
func TestRequestsAreEthtools(t *testing.T) {
	recorded := ethtools(t)
	f := func(line string, step func(k kernel) error) {
		t.Helper()
		want, known := recorded[line]
		delete(recorded, line)
		c := newFakeCard()
		c.rules[7] = make([]byte, classifyCount-classifySpec)
		if err := step(c.serve); err != nil || !known {
			t.Fatalf("%s: %v, recorded %t", line, err, known)
		}
		got := hex.EncodeToString(c.requests[len(c.requests)-1])
		if len(got) != len(want) {
			t.Fatalf("%s: %d bytes, want %d", line, len(got)/2, len(want)/2)
		}
		for i := 0; i < len(got); i += 2 {
			if byWant := want[i : i+2]; byWant != ".." && got[i:i+2] != byWant {
				t.Errorf("%s: byte %d is %s, want %s", line, i/2, got[i:i+2], byWant)
			}
		}
	}
	for _, flow := range Flows() {
		f("-N eth1 rx-flow-hash "+flow.String()+" sdfn", func(k kernel) error {
			return setHash(k, flow, hashAll)
		})
		f("-n eth1 rx-flow-hash "+flow.String(), func(k kernel) error {
			_, err := askHash(k, flow)
			return err
		})
		r := Rule{Flow: flow, Port: 8089, Queue: 2}
		f("-N eth1 flow-type "+r.String()+" loc 63", func(k kernel) error { return insertRule(k, 63, r) })
	}
	f("-N eth1 delete 7", func(k kernel) error { return deleteRule(k, 7) })
	f("-X eth1 equal 2", func(k kernel) error { return setIndirection(k, InTurn([]int{0, 1}, 8)) })
	f("-X eth1 start 2 equal 3", func(k kernel) error { return setIndirection(k, InTurn([]int{2, 3, 4}, 8)) })
	f("-X eth1 default", func(k kernel) error { return k(spreadRequest(nil, 0)) })
	for line := range recorded {
		t.Errorf("%s is recorded and not tried", line)
	}
}

// Goal: the mirrored kernel structure has the kernel's size (linux/if.h, 64 bits).
func TestLayout(t *testing.T) {
	if got := unsafe.Sizeof(ifreq{}); got != 40 {
		t.Errorf("struct ifreq has %d bytes, want 40", got)
	}
}

func TestHashFields(t *testing.T) {
	f := func(fields HashFields, text string, byAddresses bool, better string) {
		t.Helper()
		back, err := ParseHashFields(text)
		if fields.String() != text || back != fields || err != nil {
			t.Errorf("%#x is written %q and read back as %#x, %v; want %q", uint64(fields), fields,
				uint64(back), err, text)
		}
		if fields.ByAddresses() != byAddresses || fields.WithPorts().String() != better {
			t.Errorf("%s: by addresses %t, with ports %s; want %t, %s", fields, fields.ByAddresses(),
				fields.WithPorts(), byAddresses, better)
		}
	}
	f(0, "none", false, "sdfn")
	f(0x30, "sd", true, "sdfn")
	f(0xf0, "sdfn", false, "sdfn")
	f(0x10, "s", true, "sdfn")
	f(0x70, "sdf", false, "sdfn")
	f(0x134, "vsd+0x100", true, "vsdfn+0x100")
	f(0x80000000, "+0x80000000", false, "sdfn+0x80000000")
	for _, wrong := range []string{"", "x", "sd+", "sd+x", " sd", "s d"} {
		if fields, err := ParseHashFields(wrong); err == nil {
			t.Errorf("%q is read as %s", wrong, fields)
		}
	}
}

func TestIndirectionText(t *testing.T) {
	f := func(table Indirection, text string, queues ...int) {
		t.Helper()
		back, err := ParseIndirection(text)
		if table.String() != text || !slices.Equal(back, table) || err != nil {
			t.Errorf("%v is written %q and read back as %v, %v; want %q", []uint32(table), table,
				[]uint32(back), err, text)
		}
		if !slices.Equal(table.Queues(), queues) {
			t.Errorf("%s names %v, want %v", table, table.Queues(), queues)
		}
	}
	f(InTurn([]int{0, 1, 2, 3}, 128), "0 1 2 3 / 128", 0, 1, 2, 3)
	f(InTurn([]int{4, 2}, 128), "4 2 / 128", 2, 4)
	f(InTurn([]int{0, 1, 2}, 128), "0 1 2 / 128", 0, 1, 2)
	f(InTurn([]int{7}, 1), "7 / 1", 7)
	f(Indirection{0, 0, 0, 1, 1}, "0*3 1*2 / 5", 0, 1)
	f(Indirection{5, 5, 5, 5, 1, 1, 2}, "5*4 1*2 2 / 7", 1, 2, 5)
	for _, wrong := range []string{"", "0 1", "0 1 / 0", "/ 4", "0 1 2 / 2", "x / 4", "0*0 / 4", "0*5 / 4",
		"0* / 4", "-1 / 4", "0 / 99999999", "0 / 4 / 4"} {
		if table, err := ParseIndirection(wrong); err == nil {
			t.Errorf("%q is read as %v", wrong, []uint32(table))
		}
	}
}

// Goal: whatever table a card has, what is written of it restores it.
func TestIndirectionTextOfAny(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		table := make(Indirection, 1+random.IntN(40))
		for i := range table {
			table[i] = random.Uint32N(1 + random.Uint32N(4))
		}
		if back, err := ParseIndirection(table.String()); err != nil || !slices.Equal(back, table) {
			t.Fatalf("%v is written %q and read as %v, %v", []uint32(table), table, []uint32(back), err)
		}
	}
}

// Goal: a table is set without a change to the rest, and the kernel's own is asked for as such; a card that
// makes another one of that gets it by its entries.
func TestSetIndirection(t *testing.T) {
	c := newFakeCard()
	c.transform = 3
	narrow, own := InTurn([]int{0, 1}, 8), everyQueue(8, 8)
	for _, table := range []Indirection{narrow, own, narrow} {
		err := setIndirection(c.serve, table)
		if err != nil || !slices.Equal(c.table, table) || c.transform != 3 {
			t.Fatalf("%v, %v; transformation %d, want %v, 3", err, c.table, c.transform, []uint32(table))
		}
	}
	set := func(r []byte) bool { return get32(r, 0) == commandSpreadSet }
	var lengths []int
	for _, r := range c.requests {
		if set(r) {
			lengths = append(lengths, len(r)-spreadBytes)
		}
	}
	if !slices.Equal(lengths, []int{32, 0, 32}) {
		t.Errorf("tables of %v bytes were set, want 32, 0, 32", lengths)
	}
	c.ownTable = narrow
	if err := setIndirection(c.serve, own); err != nil || !slices.Equal(c.table, own) {
		t.Errorf("a card with a table of its own: %v, %v", err, c.table)
	}
	c.refuses = map[uint32]error{commandSpreadSet: unix.EINVAL}
	if err := setIndirection(c.serve, narrow); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a card that refuses: %v", err)
	}
}

func TestAskIndirectionFailure(t *testing.T) {
	f := func(want error, change func(*fakeCard)) {
		t.Helper()
		c := newFakeCard()
		change(c)
		for range 2 {
			if table, err := askIndirection(c.serve); err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%v, %v, want %v", table, err, want)
			}
		}
	}
	f(ErrNotOffered, func(c *fakeCard) { c.table = nil })
	f(ErrNotOffered, func(c *fakeCard) { c.refuses = map[uint32]error{commandSpread: ErrNotOffered} })
	f(nil, func(c *fakeCard) { c.table = make([]uint32, entriesMax+1) })
}

// Goal: a rule is put where it is told, is read back as it was, is not put over another one, and goes alone.
func TestRules(t *testing.T) {
	c := newFakeCard()
	other := make([]byte, classifyCount-classifySpec)
	put32(other, specFlow, uint32(UDP4))
	other[specMasks] = 255 // by a sender's network, too
	c.rules[63] = other
	table, err := askRules(c.serve)
	if err != nil || table.Locations != 64 || table.Elsewhere || table.At(63) != "a rule of another kind" {
		t.Fatalf("%+v, %v", table, err)
	}
	free := table.Free(2)
	if !slices.Equal(free, []int{62, 61}) {
		t.Fatalf("free are %v, want 62, 61", free)
	}
	wanted := []Rule{{UDP4, 8089, 2}, {UDP6, 65535, 0}}
	for i, r := range wanted {
		if err := insertRule(c.serve, free[i], r); err != nil {
			t.Fatal(err)
		}
	}
	if table, err = askRules(c.serve); err != nil || len(table.Rules) != 3 {
		t.Fatalf("%+v, %v", table, err)
	}
	for i, r := range wanted {
		if back, err := ParseRule(table.At(free[i])); err != nil || back != r || !table.Holds(r) {
			t.Errorf("location %d holds %q, %v", free[i], table.At(free[i]), err)
		}
	}
	if table.Holds(Rule{UDP4, 8089, 3}) || table.At(5) != NoRule {
		t.Errorf("%+v holds what it does not", table)
	}
	for _, location := range []int{62, 63} {
		if err := insertRule(c.serve, location, wanted[1]); err == nil {
			t.Errorf("location %d is taken, and was overwritten", location)
		}
	}
	if err := insertRule(c.serve, 5, Rule{Flow: 1, Port: 1}); err == nil {
		t.Error("a rule of another flow was inserted")
	}
	for _, location := range free {
		if err := deleteRule(c.serve, location); err != nil {
			t.Fatal(err)
		}
	}
	if err := deleteRule(c.serve, 62); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a rule that is not there: %v", err)
	}
	if len(c.rules) != 1 || !slices.Equal(c.rules[63], other) {
		t.Errorf("left are %v", c.rules)
	}
}

// Goal: where the driver chooses the locations, or none is free, there is none to be had; a driver that tells
// how many there are with the list only is understood.
func TestRuleLocations(t *testing.T) {
	f := func(locations, listed uint64, taken int, want ...int) {
		t.Helper()
		c := newFakeCard()
		c.locations, c.listed = locations, listed
		for i := range taken {
			c.rules[uint32(i)] = make([]byte, classifyCount-classifySpec)
		}
		table, err := askRules(c.serve)
		if free := table.Free(2); err != nil || !slices.Equal(free, want) {
			t.Errorf("%#x, %#x, %d taken: free are %v, want %v; %v", locations, listed, taken, free, want,
				err)
		}
	}
	f(8, 0, 2, 7, 6)
	f(0, 8, 6, 7, 6)
	f(8, 0, 7)
	f(0, 0, 0)
	f(locationSpecial|8, 0, 0)
}

func TestAskRulesFailure(t *testing.T) {
	f := func(want error, change func(*fakeCard)) {
		t.Helper()
		c := newFakeCard()
		c.rules[1] = make([]byte, classifyCount-classifySpec)
		change(c)
		for range 2 {
			if _, err := askRules(c.serve); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
	}
	for _, command := range []uint32{commandRuleCount, commandRules, commandRule} {
		f(ErrNotOffered, func(c *fakeCard) { c.refuses = map[uint32]error{command: ErrNotOffered} })
	}
	for _, wrong := range []string{"", "none", "udp4 dst-port 8089", "udp5 dst-port 1 action 1",
		"udp4 dst-port 70000 action 1", "udp4 dst-port 1 action 1 loc 2"} {
		if r, err := ParseRule(wrong); err == nil {
			t.Errorf("%q is read as %s", wrong, r)
		}
	}
}
