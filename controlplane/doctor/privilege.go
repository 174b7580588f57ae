package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"culvert/controlplane/confine"
)

func (e *examination) capabilities() {
	const check = "capability"
	effective, ok := e.effective()
	if !ok {
		e.add(Skip, check, "", "", "/proc/self/status does not say which this process has")
		return
	}
	var all []string
	for _, n := range confine.Capabilities() {
		if !n.Optional {
			all = append(all, strings.ToLower(n.Name))
		}
	}
	// File capabilities and the unit grant the same; root has them all.
	remedy := fmt.Sprintf("`setcap %s+ep %s`, run as root, or by culvert.service", strings.Join(all, ","),
		e.host.Binary)
	for _, n := range confine.Capabilities() {
		has := effective&(1<<n.Bit) != 0 || n.Instead != 0 && effective&(1<<n.Instead) != 0
		switch {
		case has:
			e.add(Pass, check, n.Name, "", "held")
		case n.Optional:
			e.add(Pass, check, n.Name, "", "not held, %s", n.Without)
		case n.Bit == unix.CAP_IPC_LOCK:
			// A high limit does as well; memlock looks at it.
			e.add(Warn, check, n.Name, remedy, "not held: %s", n.Without)
		default:
			e.add(Fail, check, n.Name, remedy, "not held: %s", n.Without)
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
	limit, most := "", "" // soft and hard
	for line := range strings.Lines(limits) {
		if rest, found := strings.CutPrefix(line, "Max locked memory"); found {
			if fields := strings.Fields(rest); len(fields) > 1 {
				limit, most = fields[0], fields[1]
			}
		}
	}
	bytes, err := strconv.ParseUint(limit, 10, 64)
	wanted := e.frameBytes()
	remedy := "LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK"
	if hard, err := strconv.ParseUint(most, 10, 64); most == "unlimited" || err == nil && hard >= wanted {
		// Beyond the hard limit a shell may not go.
		remedy = fmt.Sprintf("`ulimit -l %d`, %s", (wanted+1023)>>10, remedy)
	}
	switch {
	case limit == "unlimited":
		e.add(Pass, check, "", "", "no limit")
	case err != nil:
		e.add(Skip, check, "", "", "/proc/self/limits does not say what the limit is")
	case bytes < wanted:
		e.add(Fail, check, "", remedy, "RLIMIT_MEMLOCK is %d KiB, and the frames of %d %s take %d KiB",
			bytes>>10, e.queues(), plural(e.queues(), "queue", "queues"), wanted>>10)
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
