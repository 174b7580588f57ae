package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 4096, 64KiB, 1MiB or 10GiB.
type Size int64

var sizeUnits = [...]struct {
	suffix string
	shift  int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}}

func parseSize(text string) (Size, error) {
	digits, shift := text, 0
	for _, unit := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, unit.suffix); ok {
			digits, shift = strings.TrimSpace(rest), unit.shift
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size: bytes, or a whole number with KiB, MiB or GiB", text)
	}
	return Size(n << shift), nil
}

// String is the size in the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range slices.Backward(sizeUnits[:]) {
		if s != 0 && s%(1<<unit.shift) == 0 {
			return strconv.FormatInt(int64(s)>>unit.shift, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Percent is a share, 0.1 for 10%.
type Percent float64

func parsePercent(text string) (Percent, error) {
	digits, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return 0, fmt.Errorf("%q is not a share from 0%% to 100%%", text)
	}
	return Percent(n / 100), nil
}

// String is the share in percent.
func (p Percent) String() string { return strconv.FormatFloat(float64(p)*100, 'g', -1, 64) + "%" }

// Node is a NUMA node, or NodeLocal for each card's own.
type Node int

// NodeLocal is `numa: local`.
const NodeLocal Node = -1

func parseNode(text string) (Node, error) {
	if text == "local" {
		return NodeLocal, nil
	}
	n, err := strconv.ParseUint(text, 10, 15)
	if err != nil {
		return 0, fmt.Errorf("%q is neither local nor the number of a node", text)
	}
	return Node(n), nil
}

// String is the word of the file.
func (n Node) String() string {
	if n == NodeLocal {
		return "local"
	}
	return strconv.Itoa(int(n))
}

// Numbers are numbers of queues or CPUs in ascending order; nil is auto.
type Numbers []int

// numbersMax bounds a list and its members: no card has as many queues and no kernel as many CPUs (8192).
const numbersMax = 1 << 14

func parseNumbers(text string) (Numbers, error) {
	if text == "auto" {
		return nil, nil
	}
	var list Numbers
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		low, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 32)
		high, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 32)
		if err1 != nil || err2 != nil || low > high {
			return nil, fmt.Errorf("%q is neither auto nor a list such as 2-5,8", text)
		}
		if high >= numbersMax {
			return nil, fmt.Errorf("%d is more than %d, the highest number there can be", high, numbersMax-1)
		}
		for n := int(low); n <= int(high); n++ {
			list = append(list, n)
		}
	}
	return list.sorted()
}

// sorted is the list in ascending order; a number that is there twice is an error.
func (l Numbers) sorted() (Numbers, error) {
	slices.Sort(l)
	for i := 1; i < len(l); i++ {
		if l[i] == l[i-1] {
			return nil, fmt.Errorf("%d is there twice", l[i])
		}
	}
	return l, nil
}

// String is the list as in the file.
func (l Numbers) String() string {
	if l == nil {
		return "auto"
	}
	var text []string
	for from := 0; from < len(l); {
		to := from
		for to+1 < len(l) && l[to+1] == l[to]+1 {
			to++
		}
		part := strconv.Itoa(l[from])
		if to > from {
			part += "-" + strconv.Itoa(l[to])
		}
		text, from = append(text, part), to+1
	}
	return strings.Join(text, ",")
}

// Addresses are destination addresses; nil is auto, the interface's own.
type Addresses []netip.Addr

// String is the list as in the file.
func (a Addresses) String() string {
	if a == nil {
		return "auto"
	}
	return fmt.Sprint([]netip.Addr(a))
}

// URLs are one URL or a list of them.
type URLs []string

// String is the list as in the file.
func (u URLs) String() string {
	if len(u) == 1 {
		return u[0]
	}
	return "[" + strings.Join(u, ", ") + "]"
}

func parseAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IPv4 or IPv6 address", text)
	}
	return address.Unmap(), nil
}

// parsePrefix reads a CIDR prefix; an address alone is that one host. Bits behind the prefix are most likely
// a mistake in its length, so they are refused.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8 or fd00::/8", text)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("%s has bits behind its prefix: write %s, or a longer prefix",
			text, masked)
	}
	return prefix, nil
}
