package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/controlplane/doctor"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// ringRefused, in the environment of this test binary, makes it become another program that gets no io_uring:
// "ERRNO:PROGRAM", the kernel's answer and the program's file.
const ringRefused = "CULVERT_TEST_RING_REFUSED"

// runWithoutRing never returns.
func runWithoutRing(answer string) {
	number, binary, _ := strings.Cut(answer, ":")
	errno, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	runBelow([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}, binary)
}

// over is a culvert that finds other files in the place of the kernel's: the script mounts them, for it
// alone.
func over(script string, arguments ...string) *exec.Cmd {
	command := exec.Command("sh", append([]string{"-ec", script + "\n" + `exec "$0" "$@"`, culvert},
		arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return command
}

// seen checks that a finding is made, with a remedy, and that it is gone once all is as the remedy says. It
// is for remedies that no test can run.
func seen(t *testing.T, provoked, mended func() doctor.Report, check, text string) {
	t.Helper()
	report := provoked()
	finding := wrong(report, check, text)
	if finding == nil {
		t.Errorf("%s: nothing says %q: %+v", check, text, report.Findings)
		return
	}
	t.Logf("%s: %s: %s", check, finding.Text, finding.Remedy)
	if finding.Remedy == "" {
		t.Errorf("%s has no remedy: %s", check, finding.Text)
	}
	if still := wrong(mended(), check, text); still != nil {
		t.Errorf("it is still there: %+v", *still)
	}
}

// Goal: findings that another kernel mends are made where the kernel is like that, and gone where it is not.
// Method: files in the place of the kernel's, and a filter of system calls that answers as the kernel would.
func TestPrivDoctorSeesKernel(t *testing.T) {
	need(t)
	dir := t.TempDir()
	plain := func() doctor.Report { return diagnose(t, nil, exec.Command(culvert, "doctor", "--json")) }
	f := func(script, check, text string) {
		t.Helper()
		provoked := func() doctor.Report { return diagnose(t, nil, over(script, "doctor", "--json")) }
		seen(t, provoked, plain, check, text)
	}
	old := write(t, dir, "osrelease", "5.15.0-91-generic\n")
	f("mount -o bind "+old+" /proc/sys/kernel/osrelease", "kernel", "5.15.0-91-generic is older than 6.1")
	f("mount -t tmpfs none /sys/kernel/btf", "btf", "/sys/kernel/btf/vmlinux is not there")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for errno, text := range map[syscall.Errno]string{
		unix.ENOSYS: "the kernel has none", unix.EPERM: "a seccomp filter refuses it",
	} {
		seen(t, func() doctor.Report {
			command := exec.Command(self, "doctor", "--json")
			command.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%s", ringRefused, errno, culvert))
			return diagnose(t, nil, command)
		}, plain, "io_uring", text)
	}

	const without = `for d in /sys/kernel/mm/hugepages /sys/devices/system/node/node*/hugepages; do
		[ ! -d "$d" ] || mount -t tmpfs none "$d"; done`
	path := ""
	config := func(workers string) {
		t.Helper()
		path = write(t, dir, "culvert.yaml", minimal("lo", "http://127.0.0.1:1")+workers+"\n")
	}
	mends(t, func() doctor.Report { return diagnose(t, nil, over(without, "doctor", "--json", "-c", path)) },
		config, "workers: {huge_pages: on}", "huge_pages", "no huge pages of this size", "")
}

// Goal: a process with one CPU, and a list of CPUs beside those that isolcpus= set aside, are found, and
// gone with more CPUs and with the list that is printed. Method: the mask of the thread that starts doctor;
// another file in the place of the kernel's.
func TestPrivDoctorMendsCPUs(t *testing.T) {
	need(t)
	allowed, err := numa.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if len(allowed) < 2 {
		testenv.Skip(t, "this machine has one CPU")
	}
	lab, dir, path := testenv.NewLab(t, 1), t.TempDir(), ""
	config := func(workers string) {
		t.Helper()
		path = write(t, dir, "culvert.yaml", minimal(lab.GatewayInterface, "http://127.0.0.1:1")+workers+"\n")
	}
	// A child has the mask of the thread that starts it.
	narrow := func(cpus ...int) {
		t.Helper()
		var mask unix.CPUSet
		for _, cpu := range cpus {
			mask.Set(cpu)
		}
		if err := lab.Gateway.Do(func() error { return unix.SchedSetaffinity(0, &mask) }); err != nil {
			t.Fatal(err)
		}
	}
	config("")
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", path))
	}
	seen(t, func() doctor.Report {
		narrow(allowed[0])
		defer narrow(allowed...)
		return diagnosis()
	}, diagnosis, "placement", "there is one CPU only")

	isolated := write(t, dir, "isolated", fmt.Sprintln(allowed[1]))
	mends(t, func() doctor.Report {
		return diagnose(t, lab, over("mount -o bind "+isolated+" /sys/devices/system/cpu/isolated", "doctor",
			"--json", "-c", path))
	}, config, fmt.Sprintf("workers: {cpus: \"%d\"}", allowed[0]), "placement",
		"of workers.cpus are not isolated", "")
}

// Goal: a cpuset that keeps the memory of the card's node from a process is found, and gone with the
// command that is printed; so is a node without memory. Method: control groups of our own, and another file
// in the place of the kernel's, in scripts/vm.
func TestPrivDoctorMendsCpuset(t *testing.T) {
	need(t)
	name, _, _, ok := testenv.NICPair(t)
	if !ok {
		return
	}
	topology, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	node, other := numa.NICNode("/", name), -1
	for _, n := range topology.Nodes {
		if n.ID != node {
			other = n.ID
		}
	}
	dir := t.TempDir()
	groups := filepath.Join(dir, "groups")
	group := filepath.Join(groups, "kept")
	if err := os.Mkdir(groups, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("groups", groups, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Who was in it has ended, which the kernel may take a moment to see.
		eventually(t, "the control group goes", func() error { return os.Remove(group) })
		if err := unix.Unmount(groups, 0); err != nil {
			t.Error(err)
		}
	})
	put := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(groups, "cgroup.subtree_control"), "+cpuset")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	put(filepath.Join(group, "cpuset.mems"), fmt.Sprint(other))
	lab, _ := testenv.NewNICLab(t)
	join := "echo $$ >" + group + "/cgroup.procs; mount -t sysfs sysfs /sys"
	mends(t, func() doctor.Report { return diagnose(t, lab, over(join, "doctor", "--json", "-i", name)) },
		func(line string) {
			t.Helper()
			shell(t, lab, line)
		}, "", "node", "whose memory the cpuset ", "")

	lone := write(t, dir, "has_memory", fmt.Sprintln(other))
	const sysfs = "mount -t sysfs sysfs /sys"
	seen(t, func() doctor.Report {
		return diagnose(t, lab, over(sysfs+"; mount -o bind "+lone+" /sys/devices/system/node/has_memory",
			"doctor", "--json", "-i", name))
	}, func() doctor.Report { return diagnose(t, lab, over(sysfs, "doctor", "--json", "-i", name)) },
		"node", "has no memory")
}
