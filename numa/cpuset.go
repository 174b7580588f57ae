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
	// Group is the directory of the group that says so, the process's own or one above whose bounds it has;
	// "" where no group restricts anything. Legacy ones are of control groups version 1.
	Group  string
	Legacy bool
	// CPUs and Nodes are what it leaves, ascending; nil where there is no restriction.
	CPUs, Nodes []int
}

// WiderCPUs is the command that leaves the process these CPUs, too.
func (s *Cpuset) WiderCPUs(cpus []int) string {
	return s.wider("AllowedCPUs", "cpuset.cpus", slices.Concat(s.CPUs, cpus))
}

// WiderNodes is the command that leaves the process the memory of these nodes, too.
func (s *Cpuset) WiderNodes(nodes []int) string {
	return s.wider("AllowedMemoryNodes", "cpuset.mems", slices.Concat(s.Nodes, nodes))
}

// wider sets what systemd keeps for its own groups, and a file of any other. The cpusets of version 1 are not
// systemd's.
func (s *Cpuset) wider(property, file string, list []int) string {
	unit := path.Base(s.Group)
	kinds := []string{".service", ".slice", ".scope"}
	if !s.Legacy && slices.Contains(kinds, path.Ext(unit)) {
		return fmt.Sprintf("systemctl set-property %s %s=%s", unit, property, FormatList(list))
	}
	return fmt.Sprintf("echo %s > %s/%s", FormatList(list), s.Group, file)
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
			set, err := climb(root, fields[1], legacy, "cpuset.effective_cpus", "cpuset.effective_mems")
			set.Legacy = set.Group != ""
			return set, err
		case fields[2] == "cgroup2" && legacy == "" && unified != "":
			return climb(root, fields[1], unified, "cpuset.cpus.effective", "cpuset.mems.effective")
		}
	}
	return Cpuset{}, nil
}

// climb reads the two files in the group's directory or in the next one above that has them, and goes on to
// the topmost one with the same bounds: they are that one's, and are widened there.
func climb(root, mount, group, cpus, nodes string) (found Cpuset, err error) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		set := Cpuset{Group: path.Join(mount, group)}
		if set.CPUs, err = readOptionalList(filepath.Join(root, set.Group, cpus)); err == nil {
			set.Nodes, err = readOptionalList(filepath.Join(root, set.Group, nodes))
		}
		if err != nil {
			return Cpuset{}, fmt.Errorf("read the cpuset: %w", err)
		}
		same := slices.Equal(set.CPUs, found.CPUs) && slices.Equal(set.Nodes, found.Nodes)
		switch {
		case len(set.CPUs) == 0:
		case found.CPUs == nil || same:
			found = set
		default:
			return found, nil
		}
		if group == "/" {
			return found, nil
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
