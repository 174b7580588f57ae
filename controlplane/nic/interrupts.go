package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"culvert/numa"
)

// Interrupt is one interrupt of a card.
type Interrupt struct {
	Number int
	Name   string // the driver's word for it, from /proc/interrupts
	// Queue is the receive queue that it is for, -1 where the name does not tell: link changes, transmission.
	Queue int
	// CPUs may take it, ascending; Effective is what the controller made of them, empty where unknown.
	CPUs, Effective []int
}

// climbMax bounds the way from a network device to the bus device that has its interrupts: a virtio card's is
// one above.
const climbMax = 4

// Interrupts are the interrupts of the card behind an interface, by number; none for an interface without a
// card. They are read below root.
func Interrupts(root, iface string) ([]Interrupt, error) {
	numbers, err := numbersOf(root, iface)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	names, err := interruptNames(root)
	if err != nil {
		return nil, err
	}
	list := make([]Interrupt, 0, len(numbers))
	for _, n := range numbers {
		name, used := names[n]
		if !used {
			continue // It was set aside for the card, and no driver asked for it.
		}
		entry := Interrupt{Number: n, Name: name, Queue: queueOf(name)}
		dir := filepath.Join(root, "proc/irq", strconv.Itoa(n))
		if entry.CPUs, err = readCPUs(filepath.Join(dir, "smp_affinity_list")); err != nil {
			return nil, err
		}
		if entry.Effective, err = readCPUs(filepath.Join(dir, "effective_affinity_list")); err != nil {
			return nil, err
		}
		list = append(list, entry)
	}
	return list, nil
}

// numbersOf are the numbers of the card's message-signalled interrupts.
func numbersOf(root, iface string) ([]int, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/class/net", iface, "device"))
	if err != nil {
		return nil, nil // A virtual interface.
	}
	for range climbMax {
		entries, err := os.ReadDir(filepath.Join(dir, "msi_irqs"))
		if err == nil {
			var numbers []int
			for _, entry := range entries {
				if n, err := strconv.Atoi(entry.Name()); err == nil {
					numbers = append(numbers, n)
				}
			}
			slices.Sort(numbers)
			return numbers, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list the interrupts of %q: %w", iface, err)
		}
		dir = filepath.Dir(dir)
	}
	return nil, nil
}

// interruptNames reads the last column of /proc/interrupts.
func interruptNames(root string) (map[int]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/interrupts"))
	if err != nil {
		return nil, fmt.Errorf("read the names of interrupts: %w", err)
	}
	names := map[int]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSuffix(fields[0], ":")); err == nil {
			names[n] = fields[len(fields)-1]
		}
	}
	return names, nil
}

// queueName finds the queue in what drivers call their interrupts: "eth1-TxRx-3" (ixgbe, igb, igc),
// "i40e-eth1-TxRx-3", "ice-eth1-TxRx-3", "mlx5_comp3@pci:0000:3b:00.0", "eth1-Tx-Rx-3" (ena),
// "bnxt_en-eth1-3" is "eth1-TxRx-3" there, "virtio0-input.3", "eth1-rx-3", "gve-ntfy-blk3@pci:…",
// "eth1-rxtx-3" (vmxnet3, nfp), "eth1-fp-3" (bnx2x, qede).
var queueName = regexp.MustCompile(
	`(?i)(?:-tx-?rx-?|-rxtx-|-rx-|-fp-|_comp|-input\.|ntfy-blk)([0-9]+)(?:@|$)`)

func queueOf(name string) int {
	match := queueName.FindStringSubmatch(name)
	if match == nil {
		return -1
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return -1
	}
	return n
}

func readCPUs(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read where an interrupt goes: %w", err)
	}
	list, err := numa.ParseList(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// Members are the interfaces that a bond is made of, nil for what is no bond.
func Members(root, iface string) []string {
	text, err := os.ReadFile(filepath.Join(root, "sys/class/net", iface, "bonding/slaves"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// Master is the bond or bridge that an interface belongs to, or "".
func Master(root, iface string) string {
	target, err := os.Readlink(filepath.Join(root, "sys/class/net", iface, "master"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// Parent is the interface that a VLAN's packets come by, or "" for what is no VLAN.
func Parent(root, iface string) string {
	about, err := os.ReadFile(filepath.Join(root, "sys/class/net", iface, "uevent"))
	if err != nil || !slices.Contains(strings.Fields(string(about)), "DEVTYPE=vlan") {
		return ""
	}
	if lower := numa.Lower(root, iface); len(lower) > 0 {
		return lower[0]
	}
	return "" // It is in another network namespace.
}
