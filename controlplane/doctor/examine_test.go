package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/controlplane/attach"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
)

// bad is what the report holds beside what passed, one per line.
func bad(r Report) string {
	var lines []string
	for _, f := range r.Findings {
		if f.Status != Pass {
			lines = append(lines, strings.Join([]string{f.Status.String(), f.Check, f.On, f.Text, f.Remedy},
				"|"))
		}
	}
	return strings.Join(lines, "\n")
}

func TestExamineGoodHost(t *testing.T) {
	report := Examine(goodHost(goodFiles().write(t)))
	if text := bad(report); text != "" {
		t.Fatalf("findings on a host with nothing to be said of:\n%s", text)
	}
	if report.Count(Pass) < 20 {
		t.Fatalf("only %d things were looked at", report.Count(Pass))
	}
}

// Goal: an interrupt of a queue that is not in use is nowhere wrong: it never comes.
func TestExamineUnusedQueue(t *testing.T) {
	root := goodFiles().write(t)
	files{"proc/irq/71/effective_affinity_list": "2"}.provoke(t, root)
	host := goodHost(root)
	if text := bad(Examine(host)); !strings.Contains(text, "interrupt 71") {
		t.Fatalf("in use:\n%s", text)
	}
	host.Cards[0].Queues = 1
	if text := bad(Examine(host)); strings.Contains(text, "interrupt 71") {
		t.Errorf("not in use:\n%s", text)
	}
}

// finding is one provoked finding: what is changed of the good host, and what must be found, alone.
type finding struct {
	name   string
	files  files // changed; the text "gone" removes
	host   func(*Host)
	card   func(*Card)
	status Status
	check  string
	text   string
	remedy string
}

const gone = "gone"

// Goal: each finding is made, has its remedy, and is the only one. The good host, where it is not made, is
// what the remedy leads back to.
func TestExamineFinds(t *testing.T) {
	root := goodFiles().write(t)
	for _, f := range findings() {
		t.Run(f.name, func(t *testing.T) {
			f.files.provoke(t, root)
			host := goodHost(root)
			if f.host != nil {
				f.host(&host)
			}
			if f.card != nil {
				f.card(&host.Cards[0])
			}
			report := Examine(host)
			got := bad(report)
			if strings.Count(got, "\n") != 0 || report.Count(f.status) != 1 {
				t.Fatalf("findings:\n%s\nwant one %s", got, f.status)
			}
			for _, want := range []string{f.status.String() + "|" + f.check + "|", f.text, f.remedy} {
				if !strings.Contains(got, want) {
					t.Errorf("%s\nlacks %q", got, want)
				}
			}
		})
	}
}

func findings() []finding {
	noLock := files{"proc/self/status": "CapEff:\t000001ffffffbfff"}
	return []finding{
		{name: "pages astray", host: func(h *Host) {
			h.Running = &telemetry.Status{Gateway: "gw-7", Deviations: []string{
				"worker 0 is on node 1, and of 512 pages of its sends 12 on node 0: restart the gateway"}}
		}, status: Warn, check: "gateway|gw-7", text: "of its sends 12 on node 0|restart the gateway"},
		{name: "old kernel", files: files{"proc/sys/kernel/osrelease": "5.15.0-91-generic"}, status: Fail,
			check: "kernel", text: "5.15.0-91-generic is older than 6.1", remedy: "linux-image-amd64"},
		{name: "no version", files: files{"proc/sys/kernel/osrelease": "unknown"}, status: Skip,
			check: "kernel"},
		{name: "no BTF", files: files{"sys/kernel/btf/vmlinux": gone}, status: Fail, check: "btf",
			remedy: "CONFIG_DEBUG_INFO_BTF=y"},
		{name: "no JIT", files: files{"proc/sys/net/core/bpf_jit_enable": "0"}, status: Warn, check: "jit",
			remedy: "`sysctl -w net.core.bpf_jit_enable=1`"},
		{name: "JIT unknown", files: files{"proc/sys/net/core/bpf_jit_enable": gone}, status: Skip,
			check: "jit"},
		{name: "no bpffs", files: files{"proc/self/mounts": "proc /proc proc rw 0 0"}, status: Warn,
			check: "bpffs", remedy: "`mount -t bpf bpf /sys/fs/bpf`"},
		{name: "a hidden bpffs", files: files{"proc/self/mounts": "bpf /sys/fs/bpf bpf rw 0 0\n" +
			"sysfs /sys sysfs rw 0 0"}, status: Warn,
			check: "bpffs", remedy: "`mount -t bpf bpf /sys/fs/bpf`"},
		{name: "no CAP_BPF", files: files{"proc/self/status": "CapEff:\t0000017fffdfffff"}, status: Fail,
			check: "capability|CAP_BPF", text: "programs cannot be loaded",
			remedy: "`setcap cap_bpf,cap_net_admin," +
				"cap_net_raw,cap_perfmon,cap_ipc_lock+ep /usr/bin/culvert`"},
		{name: "no CAP_NET_ADMIN", files: files{"proc/self/status": "CapEff:\t000001ffffffefff"},
			status: Fail,
			check:  "capability|CAP_NET_ADMIN", text: "cannot be attached", remedy: "setcap"},
		{name: "no CAP_NET_RAW", files: files{"proc/self/status": "CapEff:\t000001ffffffdfff"}, status: Fail,
			check: "capability|CAP_NET_RAW", text: "AF_XDP sockets", remedy: "setcap"},
		{name: "no CAP_PERFMON", files: files{"proc/self/status": "CapEff:\t000001bfffdfffff"}, status: Fail,
			check: "capability|CAP_PERFMON", text: "the probes do not", remedy: "setcap"},
		{name: "capabilities unknown", files: files{"proc/self/status": "Name: x",
			"proc/self/limits": "Max locked memory  unlimited  unlimited  bytes"},
			status: Skip, check: "capability"},
		{name: "no CAP_IPC_LOCK", files: files{"proc/self/status": noLock["proc/self/status"],
			"proc/self/limits": "Max locked memory  67108864  67108864  bytes"}, status: Warn,
			check: "capability|CAP_IPC_LOCK", remedy: "setcap"},
		{name: "io_uring forbidden", files: files{"proc/sys/kernel/io_uring_disabled": "2"},
			host: func(h *Host) { h.IOUring = unix.EPERM }, status: Warn, check: "io_uring",
			text: "nobody may have a ring", remedy: "`sysctl -w kernel.io_uring_disabled=0`"},
		{name: "io_uring for a group", files: files{"proc/sys/kernel/io_uring_disabled": "1",
			"proc/sys/kernel/io_uring_group": "998"}, host: func(h *Host) { h.IOUring = unix.EPERM },
			status: Warn, check: "io_uring", text: "group 998"},
		{name: "io_uring filtered", host: func(h *Host) { h.IOUring = unix.EPERM }, status: Warn,
			check: "io_uring", text: "seccomp", remedy: "io_uring_setup"},
		{name: "io_uring absent", host: func(h *Host) { h.IOUring = unix.ENOSYS }, status: Warn,
			check: "io_uring", remedy: "CONFIG_IO_URING=y"},
		{name: "no RT throttling", files: files{"proc/sys/kernel/sched_rt_runtime_us": "-1"}, status: Warn,
			check: "rt_throttling", remedy: "`sysctl -w kernel.sched_rt_runtime_us=950000`"},
		{name: "RT throttling unknown", files: files{"proc/sys/kernel/sched_rt_runtime_us": gone},
			status: Skip,
			check:  "rt_throttling"},
		{name: "irqbalance", files: files{"proc/4711/comm": "irqbalance"}, status: Warn, check: "irqbalance",
			text: "process 4711", remedy: "`systemctl disable --now irqbalance`"},
		{name: "a worker's sibling", files: files{cpus + "cpu5/topology/thread_siblings_list": "5,7",
			cpus + "cpu7/topology/thread_siblings_list": "5,7", cpus + "cpu7/online": "1"}, status: Warn,
			check: "smt", text: "CPU 7 is one of",
			remedy: "`echo 0 > /sys/devices/system/cpu/cpu7/online`"},
		{name: "a worker's sibling that stays", files: files{
			cpus + "cpu5/topology/thread_siblings_list": "0,5",
			cpus + "cpu0/topology/thread_siblings_list": "0,5"}, status: Warn, check: "smt",
			text: "CPU 0 is one of", remedy: "`workers: {cpus: \"6\"}`"},
		{name: "deep sleep", files: files{cpus + "cpu5/cpuidle/state2/disable": "0"}, status: Warn,
			check: "sleep_states", text: "C6 (133 µs) on CPUs 5",
			remedy: "`echo 1 | tee /sys/devices/system/cpu/cpu*/cpuidle/state2/disable`"},
		{name: "no huge pages", files: files{nodes + "node1" + pages + "free_hugepages": "3"}, status: Warn,
			check:  "huge_pages|node 1",
			text:   "3 free huge pages of 2 MiB, and the frames take 16, and transparent ones are off",
			remedy: "`echo 77 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages`"},
		{name: "huge pages on the wrong node", files: files{nodes + "node1" + pages + "free_hugepages": "0",
			nodes + "node0" + pages + "free_hugepages": "64"}, status: Warn, check: "huge_pages",
			text: "on nodes 0, the wrong ones"},
		{name: "huge pages demanded", files: files{nodes + "node1" + pages + "free_hugepages": "0"},
			host: func(h *Host) { h.Workers.HugePages = "on" }, status: Fail, check: "huge_pages",
			text: "`workers.huge_pages: on` demands them"},
		{name: "huge pages of another size", files: files{nodes + "node1" + pages + "nr_hugepages": gone,
			nodes + "node1" + pages + "free_hugepages": gone},
			host: func(h *Host) { h.Workers.HugePages = "on" }, status: Fail, check: "huge_pages|node 1",
			text: "no huge pages of this size", remedy: "`workers: {huge_pages: auto}`"},
		{name: "a list across nodes", host: func(h *Host) { h.Workers.CPUs = []int{1, 2} },
			files: files{nodes + "node0" + pages + "free_hugepages": "64",
				"proc/irq/70/effective_affinity_list": "5"},
			status: Warn, check: "placement", text: "workers.cpus has no CPU of node 1, where eth1 is",
			remedy: "`workers: {cpus: \"5-7\"}`, or auto"},
		{name: "an impossible list", host: func(h *Host) { h.Workers.CPUs = []int{11} }, status: Fail,
			check: "placement", text: "CPU 11 is not among"},
		{name: "topology unknown", files: files{cpus + "online": gone}, status: Skip, check: "placement"},
	}
}

// Goal: as above, for what is found at an interface.
func TestExamineFindsAtCard(t *testing.T) {
	root := goodFiles().write(t)
	for _, f := range slices.Concat(cardFindings(), steeringFindings()) {
		t.Run(f.name, func(t *testing.T) {
			f.files.provoke(t, root)
			host := goodHost(root)
			if f.card != nil {
				f.card(&host.Cards[0])
			}
			got := bad(Examine(host))
			want := f.status.String() + "|" + f.check + "|eth1|"
			if strings.Count(got, "\n") != 0 || !strings.Contains(got, want) ||
				!strings.Contains(got, f.text) || !strings.Contains(got, f.remedy) {
				t.Fatalf("findings:\n%s\nwant one %s with %q, %q", got, want, f.text, f.remedy)
			}
		})
	}
}

func cardFindings() []finding {
	on := func(name string, fixed bool) func(*Card) {
		return func(c *Card) { c.Features[name] = nic.Feature{Active: true, Wanted: true, Fixed: fixed} }
	}
	return []finding{
		{name: "absent", card: func(c *Card) { *c = Card{Name: "eth1"} }, status: Fail, check: "interface",
			remedy: "`ip -br link`"},
		{name: "an alternative name", card: func(c *Card) { c.Called = "enp65s0f0" }, status: Warn,
			check: "interface", text: "it is another name of enp65s0f0", remedy: "`name: enp65s0f0`"},
		{name: "down", card: func(c *Card) { c.Up = false }, status: Warn, check: "interface",
			remedy: "`ip link set dev eth1 up`"},
		{name: "a bond", files: files{card1 + "net/eth1/bonding/slaves": "eth3 eth4"},
			card: func(c *Card) {
				c.Driver, c.Offer = "bonding", attach.Offer{Known: true}
				c.Addresses = addresses("10.0.0.7 fd00::7 fe80::7")
			}, status: Warn, check: "bond", text: "AF_XDP takes packets from its members alone",
			remedy: "`interfaces: [{name: eth3}, {name: eth4}]` instead of it, and " +
				"`address: [10.0.0.7, fd00::7]` at the listeners"},
		{name: "a function below a card of Hyper-V", card: func(c *Card) {
			c.Driver, c.Below, c.Offer = "hv_netvsc", attach.Function, attach.Offer{Known: true}
		}, status: Warn, check: "driver", text: "packets come by a virtual function below it",
			remedy: "a card without accelerated networking, or `mode: generic`"},
		{name: "native XDP demanded over a function", card: func(c *Card) {
			c.Driver, c.Below, c.Mode = "hv_netvsc", attach.Function, "native"
			c.Offer = attach.Offer{Known: true}
		}, status: Fail, check: "driver", text: "`mode: native` demands more", remedy: "`mode: auto`"},
		{name: "a VLAN", files: files{card1 + "net/eth1/uevent": "DEVTYPE=vlan\nINTERFACE=eth1",
			card1 + "net/eth1/lower_eth0": "-> ../eth0"},
			card: func(c *Card) {
				c.Driver, c.Offer = "802.1Q VLAN Support", attach.Offer{Known: true}
				c.Addresses = addresses("10.0.0.7")
			}, status: Warn, check: "driver", text: "802.1Q VLAN Support has no XDP of its own",
			remedy: "`interfaces: [{name: eth0}]` instead of it, and `address: [10.0.0.7]` at the listeners"},
		{name: "zero-copy demanded", card: func(c *Card) { c.Mode, c.Offer.ZeroCopy = "zerocopy", false },
			status: Fail, check: "driver", text: "`mode: zerocopy` demands more", remedy: "`mode: auto`"},
		{name: "zero-copy demanded that is broken", card: func(c *Card) {
			c.Mode, c.Driver, c.MTU = "zerocopy", "igb", 1000
		}, status: Warn, check: "driver", text: "hands over some twice", remedy: "`mode: auto`"},
		{name: "native demanded by the table", card: func(c *Card) {
			c.Mode, c.Offer, c.Driver = "zerocopy", attach.Offer{}, "ena"
		}, status: Fail, check: "driver", text: "by the table of drivers"},
		{name: "generic alone", card: func(c *Card) {
			c.Driver, c.Offer = "r8169",
				attach.Offer{Known: true}
		},
			status: Warn, check: "driver", text: "r8169 has no XDP of its own by its own word"},
		{name: "a driver unknown to an old kernel", card: func(c *Card) {
			c.Driver, c.Offer = "r8169", attach.Offer{}
		}, status: Skip, check: "driver"},
		{name: "busy polling that the driver is not good for", card: func(c *Card) { c.PollRefused = true },
			status: Warn, check: "driver", text: "busy_poll is left off", remedy: "`busy_poll: off`"},
		{name: "a clock that the service may not read", card: func(c *Card) {
			c.Times = nic.CardTimes{Clock: "/dev/ptp3", Every: true, On: true}
			c.ClockKept = "may not be read by user culvert"
		}, status: Warn, check: "timestamps", text: "its clock, /dev/ptp3, may not be read by user culvert",
			remedy: "`chgrp culvert /dev/ptp3; chmod g+r /dev/ptp3`"},
		{name: "another's program", card: func(c *Card) { c.Foreign = errors.New("another XDP program") },
			status: Fail, check: "program", remedy: "`ip link set dev eth1 xdp off`"},
		{name: "a queue that is not there", card: func(c *Card) { c.Served = []int{1, 4} }, status: Fail,
			check: "queues", text: "queue 4 is to be served, and there are 2",
			remedy: "`ethtool -L eth1 combined 5`"},
		{name: "too many channels for ena", card: func(c *Card) {
			c.Driver, c.Channels.CombinedMax = "ena", 2
		}, status: Fail, check: "queues", text: "of 2 channels at most 1 may be in use",
			remedy: "`ethtool -L eth1 combined 1`"},
		{name: "more queues than workers", card: func(c *Card) {
			c.Queues, c.Channels = 8, nic.Channels{RX: 8, TX: 8, RXMax: 8}
		}, status: Warn, check: "queues", text: "8 queues for 3 workers", remedy: "`ethtool -L eth1 rx 3`"},
		{name: "MTU over a frame", card: func(c *Card) { c.MTU = 2000 }, status: Warn, check: "mtu",
			text: "packets longer than 1770 bytes", remedy: "frame_size: 4096"},
		{name: "jumbo frames", card: func(c *Card) { c.MTU = 9000 }, status: Warn, check: "mtu",
			text: "take Linux 6.6", remedy: "`ip link set dev eth1 mtu 1500`"},
		{name: "jumbo frames without zero-copy", card: func(c *Card) { c.MTU, c.Offer.Pieces = 9000, true },
			status: Warn, check: "mtu", text: "every packet is copied",
			remedy: "`ip link set dev eth1 mtu 1500`"},
		{name: "packets that zero-copy breaks", card: func(c *Card) { c.Driver = "igc" },
			status: Warn, check: "mtu", text: "packets longer than 1024 bytes into pieces",
			remedy: "`workers: {frame_size: 4096}`"},
		{name: "zero-copy demanded of packets that it breaks", card: func(c *Card) {
			c.Driver, c.Mode, c.MTU = "igc", "zerocopy", 3051
		}, status: Fail, check: "mtu", text: "packets longer than 1024 bytes",
			remedy: "`ip link set dev eth1 mtu 1002`, or mode native"},
		{name: "LRO", card: on("rx-lro", false), status: Warn, check: "offloads",
			remedy: "`ethtool -K eth1 lro off`"},
		{name: "LRO on mlx5", card: func(c *Card) { c.Driver = "mlx5_core"; on("rx-lro", false)(c) },
			status: Fail, check: "offloads", remedy: "`ethtool -K eth1 lro off`"},
		{name: "hardware GRO", card: on("rx-gro-hw", false), status: Warn, check: "offloads",
			remedy: "`ethtool -K eth1 rx-gro-hw off`"},
		{name: "hardware GRO of a virtual machine", card: func(c *Card) {
			c.Driver = "virtio_net"
			on("rx-gro-hw", true)(c)
		}, status: Warn, check: "offloads", remedy: "guest_tso4=off"},
		{name: "GRO lists", card: on("rx-gro-list", false), status: Warn, check: "offloads",
			remedy: "`ethtool -K eth1 rx-gro-list off`"},
		{name: "GRO forwarding", card: on("rx-udp-gro-forwarding", false), status: Warn, check: "offloads",
			remedy: "`ethtool -K eth1 rx-udp-gro-forwarding off`"},
		{name: "VLAN offload", card: on("rx-vlan-hw-parse", false), status: Warn, check: "offloads",
			remedy: "`ethtool -K eth1 rxvlan off`"},
		{name: "VLAN offload that is fixed", card: on("rx-vlan-hw-parse", true), status: Warn,
			check: "offloads", remedy: "another card"},
		{name: "an interrupt on another node", files: files{"proc/irq/71/effective_affinity_list": "2"},
			status: Warn, check: "interrupts",
			text:   "interrupt 71 (ice-eth1-TxRx-1) of queue 1 goes to CPUs 2",
			remedy: "`echo 6 > /proc/irq/71/smp_affinity_list`"},
		{name: "interrupts unknown", files: files{"proc/irq/71/effective_affinity_list": "x"}, status: Skip,
			check: "interrupts"},
		{name: "a node without memory", files: files{nodes + "has_memory": "0"}, status: Warn, check: "node",
			text: "node 1 has no memory"},
		{name: "a cpuset without the node's memory", files: files{
			"proc/self/cgroup": "0::/system.slice/culvert.service",
			"proc/self/mounts": "bpf /sys/fs/bpf bpf rw 0 0\n" +
				"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
			"sys/fs/cgroup/system.slice/culvert.service/cpuset.cpus.effective": "0-7",
			"sys/fs/cgroup/system.slice/culvert.service/cpuset.mems.effective": "0"},
			status: Warn, check: "node",
			remedy: "`systemctl set-property culvert.service AllowedMemoryNodes=0-1`"},
		{name: "open to everyone", card: func(c *Card) { c.Open = []string{"plant"} }, status: Warn,
			check: "sources", text: "listener plant takes packets from everyone", remedy: "sources:"},
	}
}

// Goal: without CAP_IPC_LOCK the limit is compared with what the workers lock.
func TestExamineMemlock(t *testing.T) {
	f := func(limit string, status Status, text string) {
		t.Helper()
		tree := goodFiles()
		tree["proc/self/status"] = "CapEff:\t000001ffffffbfff"
		tree["proc/self/limits"] = "Max locked memory    " + limit + "    " + limit + "    bytes"
		for _, found := range Examine(goodHost(tree.write(t))).Findings {
			if found.Check == "memlock" && (found.Status != status || !strings.Contains(found.Text, text)) {
				t.Errorf("limit %s: %+v, want %s %q", limit, found, status, text)
			}
		}
	}
	f("8388608", Fail, "RLIMIT_MEMLOCK is 8192 KiB, and the frames of 2 queues take 32768 KiB")
	f("33554432", Pass, "suffices")
	f("unlimited", Pass, "no limit")
	f("much", Skip, "does not say")
}

// Goal: the table of drivers for people says what the one in code says.
func TestDriversAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "kernels.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| " +
		"`([a-z0-9_]+)` \\| (yes|no) \\| (yes|no|since [0-9.]+) \\| ([^|]*) \\|")
	found := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		d, known := drivers()[match[1]]
		zeroCopy := "no"
		if d.zeroCopy {
			zeroCopy = "yes"
		}
		if d.zeroCopySince != "" {
			zeroCopy = "since " + d.zeroCopySince
		}
		metadata := strings.TrimSpace(match[4])
		if metadata == "–" {
			metadata = ""
		}
		if !known || d.native != (match[2] == "yes") || zeroCopy != match[3] || metadata != d.metadata {
			t.Errorf("docs/kernels.md says %q, the code %+v", match[0], d)
		}
		found[match[1]] = true
	}
	for name := range drivers() {
		if !found[name] {
			t.Errorf("docs/kernels.md has no row for %s", name)
		}
	}
}

func TestReportJSONAndText(t *testing.T) {
	tree := goodFiles()
	delete(tree, "sys/kernel/btf/vmlinux")
	report := Examine(goodHost(tree.write(t)))
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Findings) != len(report.Findings) {
		t.Fatalf("%v, %d findings of %d", err, len(back.Findings), len(report.Findings))
	}
	for i := range back.Findings {
		if back.Findings[i] != report.Findings[i] {
			t.Fatalf("%+v, want %+v", back.Findings[i], report.Findings[i])
		}
	}
	var out bytes.Buffer
	report.Render(&out)
	for _, want := range []string{"FAIL  btf", "→ boot a kernel built with", "1 missing"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, out.String())
		}
	}
	if err := new(Status).UnmarshalText([]byte("GOOD")); err == nil {
		t.Error("a status that is none was read")
	}
}
