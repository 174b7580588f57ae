package numa

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Cpuset is what the process's control group leaves it: a slice of systemd, a container, a partition. It is
// the bound up to which an affinity may be widened again.
type Cpuset struct {
	// Group is the directory that says so, "" where no group restricts anything.
	Group string
	// CPUs and Nodes are what it leaves, ascending; nil where there is no restriction.
	CPUs, Nodes []int
}

// ReadCpuset reads the cpuset of the process with the tree under root, of control groups version 2 or, where
// the cpuset controller hangs there, version 1. A group whose directory cannot be seen, as in a container,
// is looked for at the groups above it.
func ReadCpuset(root string) (Cpuset, error) {
	membership, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return Cpuset{}, nil // A kernel without control groups restricts nothing.
	}
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mounts"))
	if err != nil {
		return Cpuset{}, fmt.Errorf("read the cpuset: %w", err)
	}
	// Each line is "number:controllers:group"; number 0 without controllers is version 2.
	unified, legacy := "", ""
	for line := range strings.Lines(string(membership)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[0] == "0" && parts[1] == "":
			unified = parts[2]
		case slices.Contains(strings.Split(parts[1], ","), "cpuset"):
			legacy = parts[2]
		}
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		options := strings.Split(fields[3], ",")
		switch {
		case fields[2] == "cgroup" && legacy != "" && slices.Contains(options, "cpuset"):
			return climb(root, fields[1], legacy, "cpuset.effective_cpus", "cpuset.effective_mems")
		case fields[2] == "cgroup2" && legacy == "" && unified != "":
			return climb(root, fields[1], unified, "cpuset.cpus.effective", "cpuset.mems.effective")
		}
	}
	return Cpuset{}, nil
}

// climb reads the two files in the group's directory or in the next one above that has them.
func climb(root, mount, group, cpus, nodes string) (Cpuset, error) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		dir := filepath.Join(root, mount, group)
		list, err := readOptionalList(filepath.Join(dir, cpus))
		if err != nil {
			return Cpuset{}, fmt.Errorf("read the cpuset: %w", err)
		}
		if len(list) > 0 {
			set := Cpuset{Group: path.Join(mount, group), CPUs: list}
			if set.Nodes, err = readOptionalList(filepath.Join(dir, nodes)); err != nil {
				return Cpuset{}, fmt.Errorf("read the cpuset: %w", err)
			}
			return set, nil
		}
		if group == "/" {
			return Cpuset{}, nil
		}
	}
}

// Usable are the CPUs that threads of this process may be put on, ascending: those of its mask, and those set
// aside by isolcpus= that its cpuset leaves. The kernel starts every process without the latter, and lets
// it have them for the asking; a mask that somebody narrowed further is a wish, and is kept.
func (t *Topology) Usable(mask []int, set Cpuset) []int {
	within := func(cpu int) bool { return set.CPUs == nil || slices.Contains(set.CPUs, cpu) }
	var usable, initial []int
	for _, cpu := range t.Online {
		isolated := slices.Contains(t.Isolated, cpu)
		if within(cpu) && !isolated {
			initial = append(initial, cpu)
		}
	}
	whole := slices.Equal(initial, mask)
	for _, cpu := range t.Online {
		isolated := slices.Contains(t.Isolated, cpu)
		if slices.Contains(mask, cpu) || whole && isolated && within(cpu) {
			usable = append(usable, cpu)
		}
	}
	return usable
}
