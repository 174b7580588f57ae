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

// NICNode is the node of the card behind an interface, or -1 when nobody knows: a virtual interface has no
// card, and firmware without a table says -1 itself. The device of a virtio card is virtioN, which has no
// numa_node file; the PCI device above it has.
func NICNode(root, iface string) int {
	devices := filepath.Join(root, "sys/devices")
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/class/net", iface, "device"))
	if err != nil {
		return -1
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
