package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"culvert/numa"
)

// The floor, which docs/kernels.md gives the reasons for.
const (
	kernelMajor = 6
	kernelMinor = 1
)

func (e *examination) kernel() {
	const check = "kernel"
	release, ok := e.read("proc/sys/kernel/osrelease")
	major, minor, parsed := version(release)
	switch {
	case !ok || !parsed:
		e.add(Skip, check, "", "", "its version %q cannot be read", release)
	case major < kernelMajor || major == kernelMajor && minor < kernelMinor:
		e.add(Fail, check, "",
			"install the distribution's newer kernel (`apt install linux-image-amd64` on Debian 12)",
			"Linux %s is older than %d.%d", release, kernelMajor, kernelMinor)
	default:
		e.add(Pass, check, "", "", "Linux %s", release)
	}
}

// version is the first two numbers of a kernel's release.
func version(release string) (major, minor int, ok bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, errMajor := strconv.Atoi(parts[0])
	digits := strings.IndexFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(parts[1])
	}
	minor, errMinor := strconv.Atoi(parts[1][:digits])
	return major, minor, errMajor == nil && errMinor == nil
}

func (e *examination) btf() {
	if _, ok := e.read("sys/kernel/btf/vmlinux"); ok {
		e.add(Pass, "btf", "", "", "the kernel describes its types")
		return
	}
	e.add(Fail, "btf", "", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions' are",
		"/sys/kernel/btf/vmlinux is not there: programs do not load")
}

func (e *examination) jit() {
	const check, file = "jit", "proc/sys/net/core/bpf_jit_enable"
	enabled, ok := e.number(file)
	switch {
	case !ok:
		// The file is in the first network namespace alone.
		e.add(Skip, check, "", "", "/%s cannot be read in this network namespace", file)
	case enabled == 0:
		e.add(Warn, check, "", "`sysctl -w net.core.bpf_jit_enable=1`",
			"programs are interpreted: each packet costs many times as much")
	default:
		e.add(Pass, check, "", "", "programs run as machine code")
	}
}

func (e *examination) bpffs() {
	const check = "bpffs"
	mounts, ok := e.read("proc/self/mounts")
	if !ok {
		e.add(Skip, check, "", "", "/proc/self/mounts cannot be read")
		return
	}
	mounted := false
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		switch fields[1] {
		case "/sys", "/sys/fs":
			mounted = false // What was mounted below is hidden.
		case "/sys/fs/bpf":
			mounted = fields[2] == "bpf"
		}
	}
	if mounted {
		e.add(Pass, check, "", "", "a BPF file system is mounted on /sys/fs/bpf")
		return
	}
	e.add(Warn, check, "", "`mount -t bpf bpf /sys/fs/bpf`",
		"no BPF file system on /sys/fs/bpf: `culvert attach` has nowhere to pin")
}

func (e *examination) ioURing() {
	const check, remedy = "io_uring", "`sysctl -w kernel.io_uring_disabled=0`"
	const without = "requests to InfluxDB go by plain sockets, at more cost"
	disabled, _ := e.number("proc/sys/kernel/io_uring_disabled")
	switch {
	case e.host.IOUring == nil:
		e.add(Pass, check, "", "", "the kernel gives this process a ring")
	case disabled == 2:
		e.add(Warn, check, "", remedy, "kernel.io_uring_disabled=2, nobody may have a ring: %s", without)
	case disabled == 1:
		whose := "and no group (kernel.io_uring_group)"
		if group, _ := e.number("proc/sys/kernel/io_uring_group"); group >= 0 {
			whose = fmt.Sprintf("and group %d (kernel.io_uring_group), which this process is not in", group)
		}
		e.add(Warn, check, "", remedy, "kernel.io_uring_disabled=1, rings are for CAP_SYS_ADMIN %s: %s",
			whose, without)
	case errors.Is(e.host.IOUring, unix.ENOSYS):
		e.add(Warn, check, "", "boot a kernel built with CONFIG_IO_URING=y", "the kernel has none: %s",
			without)
	default:
		e.add(Warn, check, "", "allow io_uring_setup, io_uring_enter and io_uring_register in the "+
			"container's seccomp profile", "%v: a seccomp filter refuses it; %s", e.host.IOUring, without)
	}
}

// realTime looks at the limit on real-time threads. Workers run under the usual policy, so it is of no use to
// lift it, and a real-time program that does not sleep takes everything else off its CPU.
func (e *examination) realTime() {
	const check = "rt_throttling"
	runtime, ok := e.number("proc/sys/kernel/sched_rt_runtime_us")
	period, okPeriod := e.number("proc/sys/kernel/sched_rt_period_us")
	switch {
	case !ok || !okPeriod:
		e.add(Skip, check, "", "", "/proc/sys/kernel/sched_rt_runtime_us cannot be read")
	case runtime < 0 || runtime >= period:
		e.add(Warn, check, "", "`sysctl -w kernel.sched_rt_runtime_us=950000`", "real-time threads are not "+
			"throttled: one that does not sleep starves interrupts and workers on its CPU")
	default:
		e.add(Pass, check, "", "", "real-time threads get at most %d of %d ms", runtime/1000, period/1000)
	}
}

// balance looks for irqbalance, which moves interrupts off the CPUs that they were put on.
func (e *examination) balance() {
	const check = "irqbalance"
	for _, pid := range e.programs() {
		if name, _ := e.read("proc/" + pid + "/comm"); name == "irqbalance" {
			e.add(Warn, check, "", "`systemctl disable --now irqbalance`",
				"irqbalance runs (process %s): it moves the cards' interrupts from where they were put", pid)
			return
		}
	}
	e.add(Pass, check, "", "", "nothing moves interrupts about")
}

// siblings reports CPUs that share a core with a worker and that others may use.
func (e *examination) siblings() {
	const check = "smt"
	workers := e.WorkerCPUs()
	if e.Topology == nil || len(workers) == 0 {
		return
	}
	var shared []int
	for _, cpu := range workers {
		for _, sibling := range e.Topology.Siblings(cpu) {
			loose := sibling != cpu && !slices.Contains(e.Topology.Isolated, sibling)
			if loose && !slices.Contains(workers, sibling) {
				shared = append(shared, sibling)
			}
		}
	}
	if len(shared) == 0 {
		e.add(Pass, check, "", "", "no worker's core has another thread that others run on")
		return
	}
	if house := e.Plan.Housekeeping; len(house) > 0 && slices.Contains(shared, house[0]) {
		e.add(Warn, check, "", e.apart(workers, house[:1]),
			"housekeeping has but threads of workers' cores (%s)", e.Plan.HousekeepingList())
		return
	}
	var commands []string
	var stay []int
	for _, cpu := range shared {
		// The first of x86 cannot be switched off, and has no such file.
		file := fmt.Sprintf("sys/devices/system/cpu/cpu%d/online", cpu)
		if _, can := e.read(file); can {
			commands = append(commands, "echo 0 > /"+file)
		} else {
			stay = append(stay, cpu)
		}
	}
	remedy := "`" + strings.Join(commands, "; ") + "`"
	if len(stay) > 0 {
		remedy = e.apart(workers, stay)
	}
	e.add(Warn, check, "", remedy+", or isolcpus= with them on the kernel's line",
		"%s threads of workers' cores: what runs there takes half of a worker's core", subject(shared))
}

// apart asks for workers on none of these CPUs' cores.
func (e *examination) apart(workers, from []int) string {
	left := slices.DeleteFunc(slices.Clone(workers), func(cpu int) bool {
		return slices.ContainsFunc(from, func(other int) bool {
			return slices.Contains(e.Topology.Siblings(other), cpu)
		})
	})
	if len(left) == 0 {
		return "more cores"
	}
	return fmt.Sprintf("`workers: {cpus: %q}`, or more cores", numa.FormatList(left))
}

func subject(cpus []int) string {
	list := make([]string, len(cpus))
	for i, cpu := range cpus {
		list[i] = strconv.Itoa(cpu)
	}
	if len(cpus) == 1 {
		return "CPU " + list[0] + " is one of the"
	}
	return "CPUs " + strings.Join(list, ",") + " are"
}
