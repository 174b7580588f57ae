package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// need is one capability and what it is for.
type need struct {
	name     string
	bit      uint
	status   Status // of its absence
	without  string
	instead  uint // a wider capability that includes it; 0: none
	optional bool // nobody misses it: it is named for those who wonder
}

// needs are the capabilities that a gateway uses. CAP_SYS_ADMIN includes two for compatibility
// (linux/capability.h).
func needs() []need {
	return []need{
		{name: "CAP_BPF", bit: unix.CAP_BPF, status: Fail, instead: unix.CAP_SYS_ADMIN,
			without: "maps cannot be made and programs cannot be loaded"},
		{name: "CAP_NET_ADMIN", bit: unix.CAP_NET_ADMIN, status: Fail,
			without: "the program cannot be attached to an interface"},
		{name: "CAP_NET_RAW", bit: unix.CAP_NET_RAW, status: Fail,
			without: "AF_XDP sockets cannot be opened, nor opened again after the link was down"},
		{name: "CAP_PERFMON", bit: unix.CAP_PERFMON, status: Fail, instead: unix.CAP_SYS_ADMIN,
			without: "the steering program does not load, and the probes do not"},
		{name: "CAP_IPC_LOCK", bit: unix.CAP_IPC_LOCK, status: Warn,
			without: "the workers' memory counts against RLIMIT_MEMLOCK (see memlock)"},
		{name: "CAP_SYS_NICE", bit: unix.CAP_SYS_NICE, optional: true,
			without: "and it is not needed: workers run under the usual policy"},
	}
}

func (e *examination) capabilities() {
	const check = "capability"
	effective, ok := e.effective()
	if !ok {
		e.add(Skip, check, "", "", "/proc/self/status does not say which this process has")
		return
	}
	var all []string
	for _, n := range needs() {
		if !n.optional {
			all = append(all, strings.ToLower(n.name))
		}
	}
	// File capabilities and the unit grant the same; root has them all.
	remedy := fmt.Sprintf("`setcap %s+ep %s`, run as root, or by culvert.service", strings.Join(all, ","),
		e.host.Binary)
	for _, n := range needs() {
		has := effective&(1<<n.bit) != 0 || n.instead != 0 && effective&(1<<n.instead) != 0
		switch {
		case has:
			e.add(Pass, check, n.name, "", "held")
		case n.optional:
			e.add(Pass, check, n.name, "", "not held, %s", n.without)
		default:
			e.add(n.status, check, n.name, remedy, "not held: %s", n.without)
		}
	}
}

// effective is the process's effective capabilities.
func (e *examination) effective() (uint64, bool) {
	status, _ := e.read("proc/self/status")
	for line := range strings.Lines(status) {
		if text, found := strings.CutPrefix(line, "CapEff:"); found {
			bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return bits, err == nil
		}
	}
	return 0, false
}

// memlock compares the limit on locked memory with what the workers lock: the frames of every queue.
func (e *examination) memlock() {
	const check = "memlock"
	if bits, ok := e.effective(); ok && bits&(1<<unix.CAP_IPC_LOCK) != 0 {
		e.add(Pass, check, "", "", "CAP_IPC_LOCK goes before the limit")
		return
	}
	limits, _ := e.read("proc/self/limits")
	limit := ""
	for line := range strings.Lines(limits) {
		if rest, found := strings.CutPrefix(line, "Max locked memory"); found {
			if fields := strings.Fields(rest); len(fields) > 0 {
				limit = fields[0]
			}
		}
	}
	bytes, err := strconv.ParseUint(limit, 10, 64)
	wanted := e.frameBytes()
	switch {
	case limit == "unlimited":
		e.add(Pass, check, "", "", "no limit")
	case err != nil:
		e.add(Skip, check, "", "", "/proc/self/limits does not say what the limit is")
	case bytes < wanted:
		e.add(Fail, check, "", "`ulimit -l unlimited`, LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK",
			"RLIMIT_MEMLOCK is %d KiB, and the frames of %d %s take %d KiB", bytes>>10, e.queues(),
			plural(e.queues(), "queue", "queues"), wanted>>10)
	default:
		e.add(Pass, check, "", "", "RLIMIT_MEMLOCK of %d KiB suffices for %d KiB of frames", bytes>>10,
			wanted>>10)
	}
}

// queues are all queues that are served; one where no interface is named.
func (e *examination) queues() int {
	n := 0
	for i := range e.host.Cards {
		n += len(e.host.Cards[i].served())
	}
	return max(n, 1)
}

// frameBytes is the memory of all queues' frames.
func (e *examination) frameBytes() uint64 {
	return uint64(e.queues()) * uint64(e.host.Workers.Frames) * uint64(e.host.Workers.FrameSize)
}

// programs are the running processes' numbers.
func (e *examination) programs() []string {
	entries, _ := os.ReadDir(filepath.Join(e.host.Root, "proc"))
	var pids []string
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, entry.Name())
		}
	}
	return pids
}
