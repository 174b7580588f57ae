package numa

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// climbMax bounds the way from a network device up to its bus: /sys/devices/pci…/…/virtioN/net/eth0 is some
// five levels deep, and bridges in between add one each.
const climbMax = 32

// lowerMax bounds the way from an interface down to those that it stands on: a VLAN on a bond of VLANs.
const lowerMax = 4

// NICNode is the node of the card behind an interface, or of all cards that a bond, bridge or VLAN stands on;
// -1 when nobody knows: a virtual interface has no card, and firmware without a table says -1 itself. The
// device of a virtio card is virtioN, which has no numa_node file; the PCI device above it has.
func NICNode(root, iface string) int { return nicNode(root, iface, lowerMax) }

func nicNode(root, iface string, deep int) int {
	devices := filepath.Join(root, "sys/devices")
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/class/net", iface, "device"))
	if err != nil {
		return nodeBelow(root, iface, deep)
	}
	if devices, err = filepath.EvalSymlinks(devices); err != nil {
		return -1
	}
	for range climbMax {
		if !strings.HasPrefix(dir, devices+string(filepath.Separator)) {
			return -1
		}
		text, err := os.ReadFile(filepath.Join(dir, "numa_node"))
		if err == nil {
			node, err := strconv.Atoi(strings.TrimSpace(string(text)))
			// A bridge above may know what the device itself does not.
			if err == nil && node >= 0 {
				return node
			}
		}
		dir = filepath.Dir(dir)
	}
	return -1
}

// nodeBelow is the node of all cards that an interface without one stands on, or -1 where they differ.
func nodeBelow(root, iface string, deep int) int {
	if deep == 0 {
		return -1
	}
	node := -1
	for _, name := range Lower(root, iface) {
		found := nicNode(root, name, deep-1)
		if found < 0 || node >= 0 && found != node {
			return -1
		}
		node = found
	}
	return node
}

// Lower are the interfaces that one stands on, as a bond, a bridge or a VLAN does, in this network namespace.
func Lower(root, iface string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(root, "sys/class/net", iface))
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if name, is := strings.CutPrefix(entry.Name(), "lower_"); is {
			names = append(names, name)
		}
	}
	return names
}
