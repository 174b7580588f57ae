package nic

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Flow is a kind of packets that cards tell apart: …_FLOW of linux/ethtool.h.
type Flow uint32

// The flows of UDP.
const (
	UDP4 Flow = 0x02
	UDP6 Flow = 0x06
)

// Flows are all flows that a listener can receive.
func Flows() []Flow { return []Flow{UDP4, UDP6} }

// String is ethtool's word for it.
func (f Flow) String() string {
	switch f {
	case UDP4:
		return "udp4"
	case UDP6:
		return "udp6"
	}
	return fmt.Sprintf("flow %d", uint32(f))
}

// ParseFlow reads ethtool's word.
func ParseFlow(text string) (Flow, error) {
	for _, f := range Flows() {
		if f.String() == text {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %v", text, Flows())
}

// HashFields say of which parts of a packet a card computes its hash, which chooses the queue: RXH_… of
// linux/ethtool.h.
type HashFields uint64

const (
	hashSource HashFields = 1 << (iota + 4) // RXH_IP_SRC
	hashDestination
	hashSourcePort // RXH_L4_B_0_1
	hashDestinationPort

	hashAll = hashSource | hashDestination | hashSourcePort | hashDestinationPort
)

// hashLetters are ethtool's, each at the place of its bit, from RXH_L2DA on.
const hashLetters = " mvtsdfn"

// ByAddresses tells whether packets of one sender have one hash, from whichever of its sockets they come.
func (f HashFields) ByAddresses() bool {
	return f&(hashSource|hashDestination) != 0 && f&hashSourcePort == 0
}

// WithPorts are the same fields, and addresses and ports of both ends among them.
func (f HashFields) WithPorts() HashFields { return f | hashAll }

// String is as ethtool takes them, "sdfn"; fields without a letter follow as a number, "sd+0x100".
func (f HashFields) String() string {
	if f == 0 {
		return "none"
	}
	var text []byte
	rest := f
	for bit := 1; bit < len(hashLetters); bit++ {
		if f&(1<<bit) != 0 {
			text = append(text, hashLetters[bit])
			rest &^= 1 << bit
		}
	}
	if rest != 0 {
		text = fmt.Appendf(text, "+%#x", uint64(rest))
	}
	return string(text)
}

// ParseHashFields reads what String writes.
func ParseHashFields(text string) (HashFields, error) {
	if text == "none" {
		return 0, nil
	}
	var f HashFields
	letters, number, more := strings.Cut(text, "+")
	if more {
		n, err := strconv.ParseUint(number, 0, 64)
		if err != nil {
			return 0, fmt.Errorf("read the hash's fields %q: %w", text, err)
		}
		f = HashFields(n)
	}
	for _, letter := range []byte(letters) {
		bit := strings.IndexByte(hashLetters, letter)
		if bit < 1 {
			return 0, fmt.Errorf("read the hash's fields %q: there is no field %q", text, letter)
		}
		f |= 1 << bit
	}
	if f == 0 {
		return 0, fmt.Errorf("read the hash's fields %q: there are none", text)
	}
	return f, nil
}

// AskHash reads by which fields a card hashes the packets of a flow. The error is ErrNotOffered where its
// driver does not tell; no fields at all are what some drivers tell that do not hash.
func AskHash(iface string, flow Flow) (HashFields, error) {
	fields, err := askHash(at(iface), flow)
	if err != nil {
		return 0, fmt.Errorf("ask how %q hashes %s: %w", iface, flow, err)
	}
	return fields, nil
}

func askHash(k kernel, flow Flow) (HashFields, error) {
	request := requestOf(commandHash, classifyBytes)
	put32(request, classifyFlow, uint32(flow))
	if err := k(request); err != nil {
		return 0, err
	}
	return HashFields(binary.NativeEndian.Uint64(request[classifyNumber:])), nil
}

// SetHash sets them.
func SetHash(iface string, flow Flow, fields HashFields) error {
	if err := setHash(at(iface), flow, fields); err != nil {
		return fmt.Errorf("have %q hash %s by %s: %w", iface, flow, fields, err)
	}
	return nil
}

func setHash(k kernel, flow Flow, fields HashFields) error {
	request := requestOf(commandHashSet, classifyBytes)
	put32(request, classifyFlow, uint32(flow))
	binary.NativeEndian.PutUint64(request[classifyNumber:], uint64(fields))
	return k(request)
}
