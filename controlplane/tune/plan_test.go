package tune

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/controlplane/doctor"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
)

// card are knobs with the files of a root and an interface that answers from memory, since none of the lab's
// has rings or interrupts. Whatever sets them is tested in the lab.
type card struct {
	Machine
	values map[Setting]string
}

func (c card) Read(s Setting) (string, error) {
	if s.Kind == File {
		return c.Machine.Read(s)
	}
	value, ok := c.values[s]
	if !ok {
		return "", nic.ErrNotOffered
	}
	return value, nil
}

const interruptNames = " 70: 1 edge ice-eth1-TxRx-0\n 71: 1 edge ice-eth1-misc"

// Goal: what is planned for a card with 64 queues on the second node of an untuned host, in order, and that
// the plan of the host as planned is empty.
func TestPlan(t *testing.T) {
	h := newHost(t, map[string]string{
		"sys/devices/system/cpu/online":                                           "0-7",
		"sys/devices/system/node/online":                                          "0-1",
		"sys/devices/system/node/has_memory":                                      "0-1",
		"sys/devices/system/node/node0/cpulist":                                   "0-3",
		"sys/devices/system/node/node0/distance":                                  "10 21",
		"sys/devices/system/node/node1/cpulist":                                   "4-7",
		"sys/devices/system/node/node1/distance":                                  "21 10",
		"sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages":   "4",
		"sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages": "4",
		"sys/devices/system/cpu/cpu5/cpuidle/state0/latency":                      "2",
		"sys/devices/system/cpu/cpu5/cpuidle/state0/disable":                      "0",
		"sys/devices/system/cpu/cpu5/cpuidle/state1/latency":                      "133",
		"sys/devices/system/cpu/cpu5/cpuidle/state1/disable":                      "0",
		"sys/devices/system/cpu/cpu4/cpuidle/state1/latency":                      "133",
		"sys/devices/system/cpu/cpu4/cpuidle/state1/disable":                      "0",
		"sys/devices/pci0/dev/numa_node":                                          "1",
		"sys/devices/pci0/dev/msi_irqs/70":                                        "msix",
		"sys/devices/pci0/dev/msi_irqs/71":                                        "msix",
		"proc/interrupts":                                                         interruptNames,
		"proc/irq/70/smp_affinity_list":                                           "0-7",
		"proc/irq/71/smp_affinity_list":                                           "0-7",
		"sys/class/net/eth1/napi_defer_hard_irqs":                                 "0",
		"sys/class/net/eth1/gro_flush_timeout":                                    "0",
		"proc/sys/net/core/bpf_jit_enable":                                        "0",
		"proc/sys/kernel/numa_balancing":                                          "1",
	})
	link := func(target, name string) {
		t.Helper()
		name = filepath.Join(h.root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(h.root, target), name); err != nil {
			t.Fatal(err)
		}
	}
	link("sys/devices/pci0/dev", "sys/class/net/eth1/device")
	channels := Setting{Kind: Channels, Interface: "eth1"}
	rings := Setting{Kind: Rings, Interface: "eth1"}
	lro := Setting{Kind: Offload, Interface: "eth1", Name: "rx-lro"}
	knobs := card{Machine{Root: h.root}, map[Setting]string{
		channels: "rx 0 tx 0 combined 64", rings: "rx 512 tx 512", lro: "on",
	}}
	host := doctor.Host{
		Root: h.root, Mask: []int{0, 1, 2, 3, 4, 5, 6, 7}, Workers: config.Default().Workers,
		Cards: []doctor.Card{{
			Name: "eth1", Present: true, Queues: 1, Driver: "ice", Mode: "auto", BusyPoll: true,
			Channels: nic.Channels{Combined: 64, CombinedMax: 64}, Rings: nic.Rings{RX: 512, TX: 512,
				RXMax: 8160},
			Features: map[string]nic.Feature{"rx-lro": {Active: true}, "rx-gro-hw": {Active: true,
				Fixed: true}},
		}},
	}
	changes, err := Plan(host, knobs)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprintf("%s: %s → %s", c.Setting, c.Now, c.Becomes))
		if c.Why == "" {
			t.Errorf("%s has no reason", c.Setting)
		}
	}
	want := []string{
		"eth1 offload rx-lro: on → off",
		"eth1 channels: rx 0 tx 0 combined 64 → rx 0 tx 0 combined 3",
		"eth1 rings: rx 512 tx 512 → rx 4096 tx 512",
		"/proc/irq/70/smp_affinity_list: 0-7 → 5",
		"/sys/class/net/eth1/napi_defer_hard_irqs: 0 → 2",
		"/sys/class/net/eth1/gro_flush_timeout: 0 → 200000",
		"/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages: 4 → 8",
		"/sys/devices/system/cpu/cpu5/cpuidle/state1/disable: 0 → 1",
		"/proc/sys/net/core/bpf_jit_enable: 0 → 1",
		"/proc/sys/kernel/numa_balancing: 1 → 0",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("the plan is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Where the gateway defers interrupts by queue, the interface's settings stay as they are.
	host.Cards[0].DefersByQueue = true
	if without, err := Plan(host, knobs); err != nil || len(without) != len(changes)-2 {
		t.Errorf("with interrupts deferred by queue: %v, %+v", err, without)
	}
	host.Cards[0].DefersByQueue = false
	for _, c := range changes {
		if c.Kind == File {
			h.put(c.Name, c.Becomes)
		} else {
			knobs.values[c.Setting] = c.Becomes
		}
	}
	h.put("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "8")
	host.Cards[0].Features, host.Cards[0].Channels.Combined = nil, 3
	if changes, err := Plan(host, knobs); err != nil || len(changes) != 0 {
		t.Fatalf("the plan of the host as planned: %+v, %v", changes, err)
	}
	// The gateway takes the pages, and they are not free any more. Of another's it takes as many again.
	h.put("sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0")
	for pages, changed := range map[string]int{"explicit": 0, "transparent": 1} {
		host.Running = &telemetry.Status{Interfaces: []telemetry.InterfaceStatus{{Name: "eth1",
			Queues: []telemetry.QueueStatus{{Node: 1, HugePages: pages}}}}}
		if changes, err := Plan(host, knobs); err != nil || len(changes) != changed {
			t.Errorf("while a gateway runs on %s pages: %+v, %v", pages, changes, err)
		}
	}
}

func TestPlanFailure(t *testing.T) {
	f := func(want string, cards ...doctor.Card) {
		t.Helper()
		for range 2 {
			_, err := Plan(doctor.Host{Root: t.TempDir(), Cards: cards}, Machine{})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
	f("0 interfaces are given")
	f(`there is no interface "eth1"`, doctor.Card{Name: "eth1"})
	f("the topology cannot be read", doctor.Card{Name: "eth1", Present: true})
}

func TestCounts(t *testing.T) {
	n, err := counts("rx 4 tx 0")
	if err != nil || n["rx"] != 4 || n["tx"] != 0 || len(n) != 2 {
		t.Errorf("%v, %v", n, err)
	}
	for _, wrong := range []string{"rx", "rx four", "rx -1"} {
		if n, err := counts(wrong); err == nil {
			t.Errorf("%q is read as %v", wrong, n)
		}
	}
}
