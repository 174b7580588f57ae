package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/nic"
)

// linkMark begins the text of a file that is a symbolic link.
const linkMark = "-> "

// files are a tree below a root, by name.
type files map[string]string

func (f files) write(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	f.into(t, root)
	return root
}

// into writes them below a root that may have them already; "gone" removes.
func (f files) into(t *testing.T, root string) {
	t.Helper()
	for name, text := range f {
		file := filepath.Join(root, name)
		if text == gone {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, isLink := strings.CutPrefix(text, linkMark); isLink {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// provoke makes the changes to the good host's tree for one test, and undoes them after it.
func (f files) provoke(t *testing.T, root string) {
	t.Helper()
	good, undo := goodFiles(), files{}
	for name := range f {
		was, existed := good[name]
		undo[name] = gone
		if existed {
			undo[name] = was
		}
	}
	f.into(t, root)
	t.Cleanup(func() { undo.into(t, root) })
}

const (
	cpus  = "sys/devices/system/cpu/"
	nodes = "sys/devices/system/node/"
	pages = "/hugepages/hugepages-2048kB/"
	card1 = "sys/devices/pci0000:80/0000:80:01.0/"
)

// goodFiles is a machine with nothing to be said of: two nodes with CPUs 0-3 and 4-7, and the card eth1 with
// two queues on node 1.
func goodFiles() files {
	f := files{
		"proc/sys/kernel/osrelease":           "6.12.48+deb12-amd64",
		"proc/sys/kernel/sched_rt_runtime_us": "950000",
		"proc/sys/kernel/sched_rt_period_us":  "1000000",
		"proc/sys/net/core/bpf_jit_enable":    "1",
		"proc/self/mounts":                    "bpf /sys/fs/bpf bpf rw,nosuid 0 0",
		"proc/self/status":                    "Name:\tculvert\nCapEff:\t000001ffffffffff",
		"proc/self/limits":                    "Max locked memory  8388608  8388608  bytes",
		"proc/1/comm":                         "systemd",
		"sys/kernel/btf/vmlinux":              "",
		cpus + "online":                       "0-7",
		nodes + "online":                      "0-1", nodes + "has_memory": "0-1",
		nodes + "node0/cpulist": "0-3", nodes + "node0/distance": "10 21",
		nodes + "node1/cpulist": "4-7", nodes + "node1/distance": "21 10",
		nodes + "node0" + pages + "nr_hugepages": "0", nodes + "node0" + pages + "free_hugepages": "0",
		nodes + "node1" + pages + "nr_hugepages": "64", nodes + "node1" + pages + "free_hugepages": "64",
		"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
		"sys/class/net/eth1":                         linkMark + "../../../" + card1 + "net/eth1",
		card1 + "net/eth1/device":                    linkMark + "../../../0000:80:01.0",
		card1 + "numa_node":                          "1",
		card1 + "msi_irqs/70":                        "msix", card1 + "msi_irqs/71": "msix",
		"proc/interrupts": " 70:  1 2 MSI 1-edge ice-eth1-TxRx-0\n" +
			" 71:  1 2 MSI 2-edge ice-eth1-TxRx-1",
		"proc/irq/70/smp_affinity_list": "5", "proc/irq/70/effective_affinity_list": "5",
		"proc/irq/71/smp_affinity_list": "6", "proc/irq/71/effective_affinity_list": "6",
	}
	for cpu := range 8 {
		dir := fmt.Sprintf("%scpu%d/", cpus, cpu)
		f[dir+"topology/thread_siblings_list"] = fmt.Sprint(cpu)
		f[dir+"cpuidle/state0/name"], f[dir+"cpuidle/state0/latency"] = "POLL", "0"
		f[dir+"cpuidle/state1/name"], f[dir+"cpuidle/state1/latency"] = "C1", "2"
		f[dir+"cpuidle/state2/name"], f[dir+"cpuidle/state2/latency"] = "C6", "133"
		f[dir+"cpuidle/state2/disable"] = "1"
	}
	return f
}

func goodHost(root string) Host {
	return Host{
		Root: root, Binary: "/usr/bin/culvert", Mask: []int{0, 1, 2, 3, 4, 5, 6, 7},
		Workers: config.Default().Workers,
		Cards: []Card{{
			Name: "eth1", Present: true, Up: true, Index: 3, MTU: 1500, Queues: 2, Driver: "ice",
			Mode:     "auto",
			Offer:    attach.Offer{Known: true, Native: true, ZeroCopy: true},
			Channels: nic.Channels{Combined: 2, CombinedMax: 64},
			Features: map[string]nic.Feature{"rx-gro": {Active: true, Wanted: true}},
		}},
	}
}
