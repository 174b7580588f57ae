package doctor

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"culvert/numa"
)

// hugeBytes is the size of the huge pages that are taken.
const hugeBytes = 2 << 20

// hugePages looks whether the nodes that serve queues have huge pages for their frames.
func (e *examination) hugePages() {
	const check = "huge_pages"
	if e.Topology == nil {
		return
	}
	if e.host.Workers.HugePages == "off" {
		e.add(Pass, check, "", "", "none are asked for")
		return
	}
	transparent, _ := e.read("sys/kernel/mm/transparent_hugepage/enabled")
	fallback := strings.Contains(transparent, "[madvise]") || strings.Contains(transparent, "[always]")
	byNode := e.QueuesByNode()
	for _, id := range slices.Sorted(maps.Keys(byNode)) {
		queues := byNode[id]
		node := e.Topology.Node(id)
		if node == nil {
			continue
		}
		wanted := e.host.HugePagesFor(queues)
		on := fmt.Sprintf("node %d", id)
		if _, offered := e.read(e.host.HugePagesFile(id)); !offered {
			e.withoutHugePages(on)
			continue
		}
		file := "/" + e.host.HugePagesFile(id)
		held := e.host.HugePagesHeld(id)
		remedy := fmt.Sprintf("`echo %d > %s`", node.HugePages+max(wanted-node.HugePagesFree-held, 0), file)
		elsewhere := e.freeElsewhere(id)
		short := fmt.Sprintf("%d free huge pages of 2 MiB, and the frames take %d", node.HugePagesFree,
			wanted)
		switch {
		case node.HugePagesFree+held >= wanted && held > 0:
			e.add(Pass, check, on, "", "the gateway that runs has %d of 2 MiB, and %d are free", held,
				node.HugePagesFree)
		case node.HugePagesFree >= wanted:
			e.add(Pass, check, on, "", "%s", short)
		case e.host.Workers.HugePages == "on":
			e.add(Fail, check, on, remedy, "%s: `workers.huge_pages: on` demands them", short)
		case len(elsewhere) > 0:
			e.add(Warn, check, on, remedy, "%s: the free ones are on nodes %s, the wrong ones", short,
				numa.FormatList(elsewhere))
		case fallback:
			e.add(Pass, check, on, "", "%s: transparent ones take their place", short)
		default:
			e.add(Warn, check, on, remedy,
				"%s, and transparent ones are off: each frame costs misses of the TLB", short)
		}
	}
}

// withoutHugePages is said of a kernel whose huge pages have another size, as with base pages of 64 KiB.
func (e *examination) withoutHugePages(on string) {
	const check = "huge_pages"
	if e.host.Workers.HugePages == "on" {
		e.add(Fail, check, on, "`workers: {huge_pages: auto}`",
			"the kernel has no huge pages of this size, 2 MiB, which `workers.huge_pages: on` asks for")
		return
	}
	e.add(Pass, check, on, "", "the kernel has none of 2 MiB; usual pages do")
}

// HugePagesFile is the file, from the root, that sets how many huge pages a node has.
func (h *Host) HugePagesFile(node int) string {
	file := fmt.Sprintf("sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", node)
	if _, err := os.Stat(filepath.Join(h.Root, file)); err != nil {
		return "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages" // A kernel without NUMA.
	}
	return file
}

// HugePagesFor is how many huge pages the frames of so many queues take.
func (h *Host) HugePagesFor(queues int) int {
	frames := h.Workers.Frames * h.Workers.FrameSize
	return (frames + hugeBytes - 1) / hugeBytes * queues
}

// HugePagesHeld is how many huge pages of a node the gateway that runs here has its frames on. They are not
// free, and are what it takes.
func (h *Host) HugePagesHeld(node int) int {
	if h.Running == nil {
		return 0
	}
	queues := 0
	for _, card := range h.Running.Interfaces {
		for _, q := range card.Queues {
			// The other sockets of a queue have no frames of their own.
			if q.Node == node && q.Socket == 0 && q.HugePages == numa.HugeExplicit {
				queues++
			}
		}
	}
	return h.HugePagesFor(queues)
}

func (e *examination) freeElsewhere(id int) []int {
	var nodes []int
	for _, n := range e.Topology.Nodes {
		if n.ID != id && n.HugePagesFree > 0 {
			nodes = append(nodes, n.ID)
		}
	}
	return nodes
}

// ExitLatencyMax is how long a CPU may take to wake, in microseconds: a state above it costs as much as all
// the rest of an alert's way.
const ExitLatencyMax = 20

// sleepStates looks at the workers' CPUs: states that take long to leave delay the first packet after a
// pause.
func (e *examination) sleepStates() {
	const check = "sleep_states"
	cpus := e.WorkerCPUs()
	if e.Topology == nil || len(cpus) == 0 {
		return
	}
	if e.host.Workers.Wait == "busy" {
		e.add(Pass, check, "", "", "workers that wait busily (`workers.wait`) do not let their CPUs sleep")
		return
	}
	deep := map[string][]int{} // "name (latency)" → CPUs
	var names []string
	var commands []string
	for _, cpu := range cpus {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpuidle", cpu)
		states, _ := os.ReadDir(filepath.Join(e.host.Root, dir))
		for _, state := range states {
			of := dir + "/" + state.Name()
			latency, ok := e.number(of + "/latency")
			off, _ := e.number(of + "/disable")
			if !ok || latency <= ExitLatencyMax || off != 0 {
				continue
			}
			name, _ := e.read(of + "/name")
			name = fmt.Sprintf("%s (%d µs)", name, latency)
			if deep[name] == nil {
				names = append(names, name)
			}
			deep[name] = append(deep[name], cpu)
			if command := fmt.Sprintf("echo 1 | tee /sys/devices/system/cpu/cpu*/cpuidle/%s/disable",
				state.Name()); !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
	}
	if len(names) == 0 {
		e.add(Pass, check, "", "", "the workers' CPUs wake within %d µs, by what the kernel knows",
			ExitLatencyMax)
		return
	}
	for i, name := range names {
		names[i] = name + " on CPUs " + numa.FormatList(deep[name])
	}
	e.add(Warn, check, "", "`"+strings.Join(commands, "; ")+"`, or `workers: {wait: busy}`",
		"workers' CPUs sleep too deep: %s", strings.Join(names, ", "))
}
