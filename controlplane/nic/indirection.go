package nic

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// struct ethtool_rxfh of linux/ethtool.h: the offsets of indir_size, input_xfrm and rss_config, which is
// where it ends. input_xfrm is one of the reserved bytes, 0, in kernels before 6.8.
const (
	spreadEntries   = 8
	spreadTransform = 17
	spreadBytes     = 24
)

// entriesMax bounds the table that a driver may tell of; those of real cards have up to 4096 entries.
const entriesMax = 1 << 16

// Indirection is the table by which a card chooses a queue: a packet's hash, modulo the table's length, is
// the place of its queue's number.
type Indirection []uint32

// InTurn is a table of so many entries that names these queues in turn, as `ethtool -X` makes it.
func InTurn(queues []int, entries int) Indirection {
	table := make(Indirection, entries)
	for i := range table {
		table[i] = uint32(queues[i%len(queues)])
	}
	return table
}

// Queues are those that the table names, ascending.
func (t Indirection) Queues() []int {
	seen := make(map[uint32]bool)
	var queues []int
	for _, queue := range t {
		if !seen[queue] {
			seen[queue] = true
			queues = append(queues, int(queue))
		}
	}
	slices.Sort(queues)
	return queues
}

// String is the shortest row of queues that, repeated, gives the table, and its length: "0 1 2 3 / 128". A
// queue that is there several times in a row is written once, "0*64 1*64 / 128".
func (t Indirection) String() string {
	period := 1
	for period < len(t) && !t.repeats(period) {
		period++
	}
	var text strings.Builder
	for i := 0; i < min(period, len(t)); {
		run := i
		for run < period && t[run] == t[i] {
			run++
		}
		text.WriteString(strconv.FormatUint(uint64(t[i]), 10))
		if run-i > 1 {
			fmt.Fprintf(&text, "*%d", run-i)
		}
		text.WriteByte(' ')
		i = run
	}
	return fmt.Sprintf("%s/ %d", text.String(), len(t))
}

// repeats tells whether the table is its first entries again and again.
func (t Indirection) repeats(period int) bool {
	for i := period; i < len(t); i++ {
		if t[i] != t[i-period] {
			return false
		}
	}
	return true
}

// ParseIndirection reads what String writes.
func ParseIndirection(text string) (Indirection, error) {
	wrong := func(what string) (Indirection, error) {
		return nil, fmt.Errorf("read the table %q: %s", text, what)
	}
	row, length, found := strings.Cut(text, "/")
	entries, err := strconv.Atoi(strings.TrimSpace(length))
	if !found || err != nil || entries < 1 || entries > entriesMax {
		return wrong("no length that a table has")
	}
	var table Indirection
	for field := range strings.FieldsSeq(row) {
		queue, times, several := strings.Cut(field, "*")
		n, run := uint64(0), 1
		if n, err = strconv.ParseUint(queue, 10, 32); err == nil && several {
			run, err = strconv.Atoi(times)
		}
		if err != nil || run < 1 || len(table)+run > entries {
			return wrong(field + " is no entry of it")
		}
		for range run {
			table = append(table, uint32(n))
		}
	}
	if len(table) == 0 {
		return wrong("it has no entry")
	}
	for i := 0; len(table) < entries; i++ {
		table = append(table, table[i])
	}
	return table, nil
}

// AskIndirection reads a card's table. The error is ErrNotOffered where its driver has none.
func AskIndirection(iface string) (Indirection, error) {
	table, err := askIndirection(at(iface))
	if err != nil {
		return nil, fmt.Errorf("ask for the indirection table of %q: %w", iface, err)
	}
	return table, nil
}

func askIndirection(k kernel) (Indirection, error) {
	head := requestOf(commandSpread, spreadBytes)
	if err := k(head); err != nil {
		return nil, err
	}
	entries := get32(head, spreadEntries)
	switch {
	case entries == 0:
		return nil, ErrNotOffered
	case entries > entriesMax:
		return nil, fmt.Errorf("it has %d entries, and no more than %d are believed", entries, entriesMax)
	}
	request := requestOf(commandSpread, spreadBytes+4*int(entries))
	put32(request, spreadEntries, entries)
	if err := k(request); err != nil {
		return nil, err
	}
	table := make(Indirection, entries)
	for i := range table {
		table[i] = get32(request, spreadBytes+4*i)
	}
	return table, nil
}

// SetIndirection sets it, and leaves the hash's key and function as they are. The table that the kernel
// itself makes is not set but restored, so that it goes on to make a new one when queues come and go.
func SetIndirection(iface string, table Indirection) error {
	if err := setIndirection(at(iface), table); err != nil {
		return fmt.Errorf("set the indirection table of %q: %w", iface, err)
	}
	return nil
}

func setIndirection(k kernel, table Indirection) error {
	head := requestOf(commandSpread, spreadBytes)
	if err := k(head); err != nil {
		return err
	}
	queues, err := receiveRings(k)
	if err != nil {
		return err
	}
	if queues > 0 && slices.Equal(table, everyQueue(queues, len(table))) {
		// A length of 0 asks for the kernel's own table. A driver may make another one of it.
		if err := k(spreadRequest(nil, head[spreadTransform])); err == nil {
			if now, err := askIndirection(k); err == nil && slices.Equal(now, table) {
				return nil
			}
		}
	}
	return k(spreadRequest(table, head[spreadTransform]))
}

// everyQueue is the table of ethtool_rxfh_indir_default (linux/ethtool.h).
func everyQueue(queues, entries int) Indirection {
	all := make([]int, queues)
	for i := range all {
		all[i] = i
	}
	return InTurn(all, entries)
}

// spreadRequest sets a table. The transformation of the hash's input is set anew by each request, so it is
// given as it is; no key and the function 0 leave both as they are.
func spreadRequest(table Indirection, transform byte) []byte {
	request := requestOf(commandSpreadSet, spreadBytes+4*len(table))
	put32(request, spreadEntries, uint32(len(table)))
	request[spreadTransform] = transform
	for i, queue := range table {
		put32(request, spreadBytes+4*i, queue)
	}
	return request
}
