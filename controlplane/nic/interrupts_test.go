package nic

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree makes a directory with these files; a value that begins with "->" is a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, isLink := cutLink(text); isLink {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func cutLink(text string) (string, bool) {
	if len(text) > 2 && text[:2] == "->" {
		return text[2:], true
	}
	return "", false
}

// Goal: the interrupts of a virtio card, which its PCI device has and not itself, with their queues and CPUs;
// one that no driver took is left out.
func TestInterrupts(t *testing.T) {
	card := "sys/devices/pci0000:00/0000:00:03.0"
	root := tree(t, map[string]string{
		card + "/msi_irqs/40":                 "msix\n",
		card + "/msi_irqs/41":                 "msix\n",
		card + "/msi_irqs/9":                  "msix\n",
		card + "/msi_irqs/99":                 "msix\n",
		card + "/virtio2/net/eth0/device":     "->../../../virtio2",
		"sys/class/net/eth0":                  "->../../devices/pci0000:00/0000:00:03.0/virtio2/net/eth0",
		"proc/irq/40/smp_affinity_list":       "0-3\n",
		"proc/irq/40/effective_affinity_list": "2\n",
		"proc/irq/41/smp_affinity_list":       "1\n",
		"proc/irq/9/smp_affinity_list":        "0-3\n",
		"proc/interrupts": "       CPU0  CPU1\n  9:  1 2  PCI-MSIX-0000:00:03.0   0-edge  virtio2-config\n" +
			" 40:  5  6  PCI-MSIX-0000:00:03.0 1-edge virtio2-input.0\n" +
			" 41:  5  6  PCI-MSIX-0000:00:03.0 2-edge virtio2-output.0\nNMI: 0 0 Non-maskable interrupts\n",
	})
	list, err := Interrupts(root, "eth0")
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if list[0].Number != 9 || list[0].Queue != -1 || list[2].Queue != -1 {
		t.Errorf("%+v", list)
	}
	input := list[1]
	if input.Queue != 0 || !slices.Equal(input.CPUs, []int{0, 1, 2, 3}) ||
		!slices.Equal(input.Effective, []int{2}) {
		t.Errorf("%+v", input)
	}
	if none, err := Interrupts(root, "veth0"); err != nil || none != nil {
		t.Errorf("an interface without a card has %+v, %v", none, err)
	}
}

func TestInterruptsFailure(t *testing.T) {
	card := "sys/devices/pci0/eth0dev"
	files := map[string]string{
		card + "/msi_irqs/40": "msix\n", card + "/net/eth0/device": "->../..",
		"sys/class/net/eth0":            "->../../devices/pci0/eth0dev/net/eth0",
		"proc/irq/40/smp_affinity_list": "three\n",
		"proc/interrupts":               " 40:  5  edge eth0-TxRx-0\n",
	}
	if list, err := Interrupts(tree(t, files), "eth0"); err == nil {
		t.Errorf("a list that is none: %+v", list)
	}
	delete(files, "proc/interrupts")
	if list, err := Interrupts(tree(t, files), "eth0"); err == nil {
		t.Errorf("no /proc/interrupts: %+v", list)
	}
}

func TestQueueOf(t *testing.T) {
	f := func(name string, want int) {
		t.Helper()
		if got := queueOf(name); got != want {
			t.Errorf("queueOf(%q) = %d, want %d", name, got, want)
		}
	}
	f("eth1-TxRx-3", 3)
	f("i40e-eth1-TxRx-12", 12)
	f("ice-eth1-TxRx-0", 0)
	f("mlx5_comp7@pci:0000:3b:00.0", 7)
	f("eth1-Tx-Rx-2", 2)
	f("virtio0-input.1", 1)
	f("eth1-rx-5", 5)
	f("gve-ntfy-blk4@pci:0000:00:04.0", 4)
	f("ens192-rxtx-6", 6)
	f("eth1-fp-2", 2)
	f("virtio0-output.1", -1)
	f("virtio0-config", -1)
	f("mlx5_async0@pci:0000:3b:00.0", -1)
	f("eth1", -1)
}

func TestMembersAndMaster(t *testing.T) {
	root := tree(t, map[string]string{
		"sys/class/net/bond0/bonding/slaves": "eth1 eth2\n",
		"sys/class/net/eth1/master":          "->../bond0",
	})
	if got := Members(root, "bond0"); !slices.Equal(got, []string{"eth1", "eth2"}) {
		t.Errorf("members %q", got)
	}
	if got := Members(root, "eth1"); got != nil {
		t.Errorf("members of what is no bond: %q", got)
	}
	if Master(root, "eth1") != "bond0" || Master(root, "bond0") != "" {
		t.Errorf("masters %q and %q", Master(root, "eth1"), Master(root, "bond0"))
	}
}

// Goal: the parent of a VLAN is found, also of one with a dot in its name, and nothing else has one.
func TestParent(t *testing.T) {
	root := tree(t, map[string]string{
		"sys/class/net/eth1.7/uevent":      "DEVTYPE=vlan\nINTERFACE=eth1.7\nIFINDEX=9\n",
		"sys/class/net/eth1.7/lower_eth1":  "->../eth1",
		"sys/class/net/away.7/uevent":      "DEVTYPE=vlan\nINTERFACE=away.7\n",
		"sys/class/net/bond0/uevent":       "DEVTYPE=bond\nINTERFACE=bond0\n",
		"sys/class/net/bond0/lower_eth1":   "->../eth1",
		"sys/class/net/eth1/uevent":        "INTERFACE=eth1\n",
		"sys/class/net/eth1/upper_eth1.7":  "->../eth1.7",
		"sys/class/net/bonding_masters":    "bond0\n",
		"sys/class/net/unrelated/lower_x":  "->../x",
		"sys/class/net/eth1/queues/rx-0/a": "",
	})
	for name, want := range map[string]string{"eth1.7": "eth1", "away.7": "", "bond0": "", "eth1": "",
		"unrelated": "", "absent": ""} {
		if got := Parent(root, name); got != want {
			t.Errorf("the parent of %s is %q, want %q", name, got, want)
		}
	}
}
