package numa

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func readTree(t *testing.T, name string) *Topology {
	t.Helper()
	topology, err := Read(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// Goal: a kernel without NUMA is one node with everything.
func TestReadFlat(t *testing.T) {
	topology := readTree(t, "flat")
	want := []Node{{ID: 0, CPUs: []int{0, 1, 2, 3}, HasMemory: true, Distances: []int{10}}}
	if !reflect.DeepEqual(topology.Nodes, want) {
		t.Fatalf("nodes %+v", topology.Nodes)
	}
	if topology.NodeOf(3) != 0 || topology.NodeOf(4) != -1 {
		t.Fatalf("CPU 3 is on node %d, CPU 4 on %d", topology.NodeOf(3), topology.NodeOf(4))
	}
	if !slices.Equal(topology.Siblings(2), []int{2}) || topology.NoHZFull != nil {
		t.Fatalf("siblings of 2: %v, nohz_full: %v", topology.Siblings(2), topology.NoHZFull)
	}
}

// Goal: two sockets with hardware threads, one CPU offline, one isolated.
func TestReadTwoNodes(t *testing.T) {
	topology := readTree(t, "two")
	want := []Node{
		{ID: 0, CPUs: []int{0, 1, 4, 5}, HasMemory: true, Distances: []int{10, 21}},
		{ID: 1, CPUs: []int{2, 3, 6}, HasMemory: true, Distances: []int{21, 10},
			HugePages: 64, HugePagesFree: 48},
	}
	if !reflect.DeepEqual(topology.Nodes, want) {
		t.Fatalf("nodes %+v", topology.Nodes)
	}
	if !slices.Equal(topology.Offline, []int{7}) || !slices.Equal(topology.Isolated, []int{3}) ||
		!slices.Equal(topology.NoHZFull, []int{3}) {
		t.Fatalf("offline %v, isolated %v, nohz_full %v",
			topology.Offline, topology.Isolated, topology.NoHZFull)
	}
	if topology.NodeOf(6) != 1 || topology.NodeOf(7) != -1 {
		t.Fatalf("CPU 6 is on node %d, CPU 7 on %d", topology.NodeOf(6), topology.NodeOf(7))
	}
	if !slices.Equal(topology.Siblings(6), []int{2, 6}) || !slices.Equal(topology.Siblings(3), []int{3}) ||
		topology.Siblings(7) != nil {
		t.Fatalf("siblings of 6: %v, of 3: %v, of 7: %v",
			topology.Siblings(6), topology.Siblings(3), topology.Siblings(7))
	}
}

// Goal: a node without memory, a node without CPUs, and a gap in the numbers.
func TestReadExpander(t *testing.T) {
	topology := readTree(t, "expander")
	if topology.Node(1).HasMemory || !topology.Node(4).HasMemory || len(topology.Node(4).CPUs) != 0 {
		t.Fatalf("nodes %+v", topology.Nodes)
	}
	if topology.Node(2) != nil || topology.Nearest(2) != nil {
		t.Fatal("there is a node 2")
	}
	if got := topology.Nearest(1); !slices.Equal(got, []int{1, 0, 4}) {
		t.Fatalf("from node 1: %v", got)
	}
	if got := topology.Nearest(4); !slices.Equal(got, []int{4, 0, 1}) {
		t.Fatalf("from node 4: %v", got)
	}
	for id, want := range map[int][]int{0: {0, 1}, 1: {2, 3}, 4: {0, 1}, 2: {0, 1, 2, 3}, -1: {0, 1, 2, 3}} {
		if got := topology.CPUsNear(id); !slices.Equal(got, want) {
			t.Errorf("CPUs near node %d: %v, want %v", id, got, want)
		}
	}
}

func TestReadThisMachine(t *testing.T) {
	topology, err := Read("/")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range allowed {
		if topology.NodeOf(cpu) < 0 {
			t.Fatalf("CPU %d is allowed but on no node: %+v", cpu, topology.Nodes)
		}
	}
}

// Goal: each broken tree is an error that names what is broken. Method: a good tree, one file replaced.
func TestReadFailure(t *testing.T) {
	f := func(file, text, want string) {
		t.Helper()
		root := t.TempDir()
		if err := os.CopyFS(filepath.Join(root, "sys/devices/system"),
			os.DirFS("testdata/two/sys/devices/system")); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, "sys/devices/system", file)
		if text == "-" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := Read(root); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%s = %q: %v, want %q", file, text, err, want)
			}
		}
	}
	f("cpu/online", "-", "read online CPUs")
	f("cpu/online", "\n", "is empty")
	f("cpu/online", "x", `"x" is not a number`)
	f("cpu/isolated", "x", "read isolated CPUs")
	f("cpu/cpu2/topology/thread_siblings_list", "x", "siblings of CPU 2")
	f("node/online", "", "node/online is empty")
	f("node/online", "0-2", "2 distances to 3 online nodes")
	f("node/online", "1", "2 distances to 1")
	f("node/has_memory", "x", "is not a number")
	f("node/node1/cpulist", "-", "node 1")
	f("node/node1/distance", "-", "node 1")
	f("node/node1/distance", "21 ten", `parse distance "ten"`)
	f("node/node1/distance", "10", "1 distances to 2")
	f("node/node1/hugepages/hugepages-2048kB/nr_hugepages", "many", "nr_hugepages")
}

func TestNICNode(t *testing.T) {
	f := func(iface string, want int) {
		t.Helper()
		if got := NICNode("testdata/two", iface); got != want {
			t.Fatalf("NICNode(%q) = %d, want %d", iface, got, want)
		}
	}
	f("eth0", 1) // virtio: the PCI device above knows
	f("eth1", 0)
	f("eth2", -1) // the firmware does not know
	f("br0", -1)
	f("absent", -1)
	if got := NICNode("testdata/absent", "eth0"); got != -1 {
		t.Fatalf("without a tree: %d", got)
	}
}

// Goal: what stands on cards of one node is on that node, a VLAN on a bond too; on cards of several, on none.
func TestNICNodeBelow(t *testing.T) {
	root := write(t, t.TempDir(), map[string]string{"sys/devices/pci0/a/numa_node": "1\n",
		"sys/devices/pci0/b/numa_node": "1\n", "sys/devices/pci1/c/numa_node": "0\n"})
	link := func(target, name string) {
		t.Helper()
		name = filepath.Join(root, "sys/class/net", name)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.Symlink(filepath.Join(root, target), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for iface, device := range map[string]string{"eth1": "pci0/a", "eth2": "pci0/b", "eth3": "pci1/c"} {
		link("sys/devices/"+device, iface+"/device")
	}
	for upper, lowers := range map[string][]string{"bond0": {"eth1", "eth2"}, "bond0.7": {"bond0"},
		"bond1": {"eth2", "eth3"}, "bond2": {"eth1", "veth0"}, "self0": {"self0"}} {
		for _, lower := range lowers {
			link("sys/class/net/"+lower, upper+"/lower_"+lower)
		}
	}
	for iface, want := range map[string]int{"eth1": 1, "eth3": 0, "bond0": 1, "bond0.7": 1, "bond1": -1,
		"bond2": -1, "self0": -1, "veth0": -1} {
		if got := NICNode(root, iface); got != want {
			t.Errorf("%s is on node %d, want %d", iface, got, want)
		}
	}
}
