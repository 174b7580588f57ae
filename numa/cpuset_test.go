package numa

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, root string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	mountsV2 = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
	mountsV1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n" +
		"cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
	mountsHybrid = mountsV1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
)

func TestReadCpusetSuccess(t *testing.T) {
	f := func(files map[string]string, group, cpus, nodes string) {
		t.Helper()
		set, err := ReadCpuset(write(t, t.TempDir(), files))
		right := set.Group == group && FormatList(set.CPUs) == cpus && FormatList(set.Nodes) == nodes
		if err != nil || !right {
			t.Errorf("%+v, %v; want %q %q %q", set, err, group, cpus, nodes)
		}
	}
	f(nil, "", "", "")
	f(map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mounts": mountsV2}, "", "", "")
	f(map[string]string{
		"proc/self/cgroup": "0::/system.slice/culvert.service\n", "proc/self/mounts": mountsV2,
		"sys/fs/cgroup/system.slice/culvert.service/cpuset.cpus.effective": "2-5\n",
		"sys/fs/cgroup/system.slice/culvert.service/cpuset.mems.effective": "1\n",
		"sys/fs/cgroup/cpuset.cpus.effective":                              "0-7\n",
	}, "/sys/fs/cgroup/system.slice/culvert.service", "2-5", "1")
	// What a slice restricts is said of the slice, not of what inherits it.
	f(map[string]string{
		"proc/self/cgroup": "0::/user.slice/user-0.slice/session-1.scope\n", "proc/self/mounts": mountsV2,
		"sys/fs/cgroup/cpuset.cpus.effective":                                         "0-7\n",
		"sys/fs/cgroup/cpuset.mems.effective":                                         "0-1\n",
		"sys/fs/cgroup/user.slice/cpuset.cpus.effective":                              "0-1\n",
		"sys/fs/cgroup/user.slice/cpuset.mems.effective":                              "0-1\n",
		"sys/fs/cgroup/user.slice/user-0.slice/session-1.scope/cpuset.cpus.effective": "0-1\n",
		"sys/fs/cgroup/user.slice/user-0.slice/session-1.scope/cpuset.mems.effective": "0-1\n",
	}, "/sys/fs/cgroup/user.slice", "0-1", "0-1")
	// A container sees its own group as the root of what is mounted, under another name.
	f(map[string]string{
		"proc/self/cgroup": "0::/docker/abc\n", "proc/self/mounts": mountsV2,
		"sys/fs/cgroup/cpuset.cpus.effective": "1,3\n", "sys/fs/cgroup/cpuset.mems.effective": "0\n",
	}, "/sys/fs/cgroup", "1,3", "0")
	legacy := map[string]string{
		"proc/self/cgroup": "3:cpu,cpuacct:/a\n2:cpuset:/b\n0::/c\n", "proc/self/mounts": mountsHybrid,
		"sys/fs/cgroup/cpuset/b/cpuset.effective_cpus":    "4-5\n",
		"sys/fs/cgroup/cpuset/b/cpuset.effective_mems":    "0-1\n",
		"sys/fs/cgroup/unified/c/cpuset.cpus.effective":   "7\n",
		"sys/fs/cgroup/cpu/a/cpuset.effective_cpus":       "9\n",
		"sys/fs/cgroup/cpuset/cpuset.effective_cpus":      "0-9\n",
		"sys/fs/cgroup/cpuset/b/cpuset.cpus":              "0-9\n",
		"sys/fs/cgroup/unified/c/cpuset.mems.effective":   "9\n",
		"sys/fs/cgroup/unified/c/d/cpuset.mems.effective": "9\n",
	}
	f(legacy, "/sys/fs/cgroup/cpuset/b", "4-5", "0-1")
}

// Goal: a cpuset is widened by systemd where it is systemd's, and by the kernel's file where not.
func TestWider(t *testing.T) {
	f := func(group string, legacy bool, cpus, nodes string) {
		t.Helper()
		s := Cpuset{Group: group, Legacy: legacy, CPUs: []int{0, 1}, Nodes: []int{0}}
		if got := s.WiderCPUs([]int{4, 1}); got != cpus {
			t.Errorf("%s: %s, want %s", group, got, cpus)
		}
		if got := s.WiderNodes([]int{1}); got != nodes {
			t.Errorf("%s: %s, want %s", group, got, nodes)
		}
	}
	f("/sys/fs/cgroup/user.slice", false, "systemctl set-property user.slice AllowedCPUs=0-1,4",
		"systemctl set-property user.slice AllowedMemoryNodes=0-1")
	f("/sys/fs/cgroup/mine", false, "echo 0-1,4 > /sys/fs/cgroup/mine/cpuset.cpus",
		"echo 0-1 > /sys/fs/cgroup/mine/cpuset.mems")
	f("/sys/fs/cgroup/cpuset/a.slice", true, "echo 0-1,4 > /sys/fs/cgroup/cpuset/a.slice/cpuset.cpus",
		"echo 0-1 > /sys/fs/cgroup/cpuset/a.slice/cpuset.mems")
}

func TestReadCpusetFailure(t *testing.T) {
	f := func(want string, files map[string]string) {
		t.Helper()
		root := write(t, t.TempDir(), files)
		for range 2 {
			if set, err := ReadCpuset(root); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v, %v; want %q", set, err, want)
			}
		}
	}
	f("read the cpuset", map[string]string{"proc/self/cgroup": "0::/a\n"})
	f("is not a number", map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mounts": mountsV2,
		"sys/fs/cgroup/a/cpuset.cpus.effective": "all\n"})
	f("is not a number", map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mounts": mountsV2,
		"sys/fs/cgroup/a/cpuset.cpus.effective": "1\n", "sys/fs/cgroup/a/cpuset.mems.effective": "x\n"})
}

// Goal: CPUs that isolcpus= set aside may be used by a process with the mask that the kernel gave it, as far
// as its cpuset goes; a mask that was narrowed is kept. The tree "two" has CPUs 0-6, 3 isolated.
func TestUsable(t *testing.T) {
	two, err := Read("testdata/two")
	if err != nil {
		t.Fatal(err)
	}
	f := func(mask []int, set []int, want ...int) {
		t.Helper()
		if got := two.Usable(mask, Cpuset{CPUs: set}); !slices.Equal(got, want) {
			t.Errorf("mask %v, cpuset %v: %v, want %v", mask, set, got, want)
		}
	}
	f([]int{0, 1, 2, 4, 5, 6}, nil, 0, 1, 2, 3, 4, 5, 6)
	f([]int{0, 1, 2, 4, 5, 6}, []int{0, 1, 2, 3, 4, 5, 6}, 0, 1, 2, 3, 4, 5, 6)
	f([]int{2, 4}, []int{2, 3, 4}, 2, 3, 4)
	f([]int{2, 4}, []int{2, 4}, 2, 4)
	f([]int{0, 1}, nil, 0, 1)
	f([]int{0, 3}, nil, 0, 3)
}
