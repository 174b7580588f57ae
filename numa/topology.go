package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// distanceLocal is what the firmware's SLIT table gives as the distance of a node to itself (ACPI 6.5,
// 5.2.17).
const distanceLocal = 10

// Node is one node: CPUs and the memory next to them. Either may be missing: an expander card has memory
// alone, a socket with empty slots has CPUs alone.
type Node struct {
	ID int
	// CPUs are those that are online, ascending.
	CPUs []int
	// HasMemory tells whether memory can be bound to this node at all.
	HasMemory bool
	// Distances are to the nodes of Topology.Nodes, in that order; 10 is here, 20 twice as far.
	Distances []int
	// HugePages are the explicit huge pages of 2 MiB set aside on this node, and how many are free.
	HugePages, HugePagesFree int
}

// Topology is what sysfs said at one moment. It is never written after Read.
type Topology struct {
	// Nodes are the online nodes by ascending ID. A kernel without NUMA has one node, 0, with everything.
	Nodes []Node
	// Online are the CPUs that run, Offline those that could.
	Online, Offline []int
	// Isolated CPUs are left alone by the scheduler (isolcpus=): only a pinned thread runs there. NoHZFull
	// ones have no timer tick while one thread runs.
	Isolated, NoHZFull []int

	nodes    map[int]int   // CPU → node ID
	siblings map[int][]int // CPU → the hardware threads of its core, itself among them
}

// Read reads the topology from the tree under root: "/" in production, a directory of testdata in tests.
func Read(root string) (*Topology, error) {
	cpus := filepath.Join(root, "sys/devices/system/cpu")
	t := &Topology{nodes: make(map[int]int), siblings: make(map[int][]int)}
	var err error
	if t.Online, err = readList(filepath.Join(cpus, "online")); err != nil {
		return nil, fmt.Errorf("read online CPUs: %w", err)
	}
	if len(t.Online) == 0 {
		return nil, fmt.Errorf("read online CPUs: %s/online is empty", cpus)
	}
	for _, list := range []struct {
		into *[]int
		file string
	}{{&t.Offline, "offline"}, {&t.Isolated, "isolated"}, {&t.NoHZFull, "nohz_full"}} {
		if *list.into, err = readOptionalList(filepath.Join(cpus, list.file)); err != nil {
			return nil, fmt.Errorf("read %s CPUs: %w", list.file, err)
		}
	}
	for _, cpu := range t.Online {
		file := filepath.Join(cpus, "cpu"+strconv.Itoa(cpu), "topology/thread_siblings_list")
		siblings, err := readOptionalList(file)
		if err != nil {
			return nil, fmt.Errorf("read the siblings of CPU %d: %w", cpu, err)
		}
		if len(siblings) == 0 {
			siblings = []int{cpu}
		}
		t.siblings[cpu] = siblings
	}
	if err := t.readNodes(filepath.Join(root, "sys/devices/system/node")); err != nil {
		return nil, fmt.Errorf("read NUMA nodes: %w", err)
	}
	return t, nil
}

// readNodes fills in the nodes. A missing directory is a kernel without NUMA: one node has everything.
func (t *Topology) readNodes(dir string) error {
	online, err := readList(filepath.Join(dir, "online"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Nodes = []Node{{
			ID: 0, CPUs: slices.Clone(t.Online), HasMemory: true, Distances: []int{distanceLocal},
		}}
		for _, cpu := range t.Online {
			t.nodes[cpu] = 0
		}
		return nil
	}
	if err != nil {
		return err
	}
	withMemory, err := readOptionalList(filepath.Join(dir, "has_memory"))
	if err != nil {
		return err
	}
	for _, id := range online {
		node, err := readNode(filepath.Join(dir, "node"+strconv.Itoa(id)), id)
		if err != nil {
			return fmt.Errorf("node %d: %w", id, err)
		}
		if len(node.Distances) != len(online) {
			return fmt.Errorf("node %d: %d distances to %d online nodes",
				id, len(node.Distances), len(online))
		}
		node.HasMemory = slices.Contains(withMemory, id)
		// cpulist holds the node's online CPUs; one that went away between the two reads is left out.
		node.CPUs = slices.DeleteFunc(node.CPUs, func(cpu int) bool {
			return !slices.Contains(t.Online, cpu)
		})
		for _, cpu := range node.CPUs {
			t.nodes[cpu] = id
		}
		t.Nodes = append(t.Nodes, node)
	}
	if len(t.Nodes) == 0 {
		return fmt.Errorf("%s/online is empty", dir)
	}
	return nil
}

func readNode(dir string, id int) (Node, error) {
	node := Node{ID: id}
	var err error
	if node.CPUs, err = readList(filepath.Join(dir, "cpulist")); err != nil {
		return node, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "distance"))
	if err != nil {
		return node, err
	}
	for field := range strings.FieldsSeq(string(text)) {
		distance, err := strconv.Atoi(field)
		if err != nil {
			return node, fmt.Errorf("parse distance %q: %w", field, err)
		}
		node.Distances = append(node.Distances, distance)
	}
	// Absent when the kernel has no huge pages of this size: then there are none.
	huge := filepath.Join(dir, "hugepages", "hugepages-2048kB")
	if node.HugePages, err = readOptionalInt(filepath.Join(huge, "nr_hugepages"), 0); err != nil {
		return node, err
	}
	node.HugePagesFree, err = readOptionalInt(filepath.Join(huge, "free_hugepages"), 0)
	return node, err
}

// NodeOf is the ID of a CPU's node, or -1 when the CPU is offline or unknown.
func (t *Topology) NodeOf(cpu int) int {
	if id, ok := t.nodes[cpu]; ok {
		return id
	}
	return -1
}

// Node is the node with this ID, or nil. It belongs to the topology.
func (t *Topology) Node(id int) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].ID == id {
			return &t.Nodes[i]
		}
	}
	return nil
}

// Siblings are the hardware threads of a CPU's core, itself among them, ascending: two busy workers on one
// core share its units. It is nil when the CPU is offline or unknown.
func (t *Topology) Siblings(cpu int) []int { return t.siblings[cpu] }

// Nearest are the IDs of all nodes by distance from one, itself first; nil when there is no such node.
func (t *Topology) Nearest(id int) []int {
	from := t.Node(id)
	if from == nil {
		return nil
	}
	order := make([]int, len(t.Nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return from.Distances[a] - from.Distances[b] })
	for i, place := range order {
		order[i] = t.Nodes[place].ID
	}
	return order
}

// CPUsNear are the CPUs of a node, or of the nearest one that has any: a card may be on a node that is memory
// alone, or whose CPUs are all offline. Where there is no such node they are all that run.
func (t *Topology) CPUsNear(id int) []int {
	for _, near := range t.Nearest(id) {
		if cpus := t.Node(near).CPUs; len(cpus) > 0 {
			return cpus
		}
	}
	return t.Online
}

func readList(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := ParseList(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// readOptionalList reads a file that older kernels or other configurations do not have: absent is empty. A
// kernel without nohz_full= writes "(null)" into that file.
func readOptionalList(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(text)) == "(null)" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := ParseList(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

func readOptionalInt(file string, absent int) (int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return absent, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}
