package numa

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// cpusMax is the size of the affinity masks exchanged with the kernel, in CPUs: its largest NR_CPUS (x86
// MAXSMP). A mask smaller than the kernel's own would be refused.
const cpusMax = 8192

// confineRounds bounds how often Confine reads the list of threads. Each round that finds a thread to confine
// leaves fewer that could start another unconfined one; a handful of rounds is usual.
const confineRounds = 100

// Allowed are the CPUs that the calling thread may run on, ascending. Asked at the start of the process,
// before Confine, this is what its cpuset, its container or taskset leave it.
func Allowed() ([]int, error) {
	cpus, err := affinity(0)
	if err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	return cpus, nil
}

// AllowedTo are the CPUs that a thread of this process may run on, ascending; thread is the kernel's number.
func AllowedTo(thread int) ([]int, error) {
	cpus, err := affinity(thread)
	if err != nil {
		return nil, fmt.Errorf("read the CPU affinity of thread %d: %w", thread, err)
	}
	return cpus, nil
}

// Pin binds the calling thread to one CPU and checks that it arrived. The caller has locked its goroutine to
// the thread (runtime.LockOSThread) and never unlocks it: the thread is to end with its goroutine.
func Pin(cpu int) error {
	if err := setAffinity(0, []int{cpu}); err != nil {
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("pin to CPU %d: %w: it is offline or outside of this process's cpuset (%s)",
				cpu, err, "see Cpus_allowed_list in /proc/self/status, and AllowedCPUs= of the systemd unit")
		}
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	// The kernel moves the thread before the call returns; anything else would void every later assumption.
	got, err := currentCPU()
	if err != nil {
		return fmt.Errorf("pin to CPU %d: read the current CPU: %w", cpu, err)
	}
	if got != cpu {
		return fmt.Errorf("pin to CPU %d: the thread runs on CPU %d", cpu, got)
	}
	return nil
}

// Confine binds every thread that the process has now to these CPUs; threads that start later inherit it. It
// is called before any thread is pinned, since it would unpin it. A worker may then be pinned outside of
// them: an affinity may be widened again, up to the cpuset.
func Confine(cpus []int) error {
	want := slices.Clone(cpus)
	slices.Sort(want)
	want = slices.Compact(want)
	if len(want) == 0 {
		return errors.New("confine the process: the list of CPUs is empty")
	}
	for range confineRounds {
		changed, err := confineRound(want)
		if err != nil {
			return fmt.Errorf("confine the process to CPUs %s: %w", FormatList(want), err)
		}
		// A thread that is not in the list yet was started by one that is, whose mask was already right.
		if !changed {
			return nil
		}
	}
	return fmt.Errorf("confine the process to CPUs %s: new threads appeared %d times in a row",
		FormatList(want), confineRounds)
}

// confineRound sets the mask of each listed thread that has another one, and tells whether there was any.
func confineRound(want []int) (changed bool, err error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false, fmt.Errorf("list threads: %w", err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return false, fmt.Errorf("list threads: %q is not a thread", task.Name())
		}
		had, err := affinity(tid)
		if err == nil && slices.Equal(had, want) {
			continue
		}
		if err == nil {
			err = setAffinity(tid, want)
		}
		if errors.Is(err, unix.ESRCH) {
			continue // The thread has ended meanwhile.
		}
		if err != nil {
			return false, fmt.Errorf("thread %d: %w", tid, err)
		}
		changed = true
		got, err := affinity(tid)
		if err == nil && !slices.Equal(got, want) {
			return false, fmt.Errorf("the kernel leaves thread %d only CPUs %q: the others are offline "+
				"or outside of its cpuset", tid, FormatList(got))
		}
	}
	return changed, nil
}

func affinity(tid int) ([]int, error) {
	set := unix.NewCPUSet(cpusMax)
	if err := unix.SchedGetaffinityDynamic(tid, set); err != nil {
		return nil, err
	}
	var cpus []int
	for cpu := range cpusMax {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

func setAffinity(tid int, cpus []int) error {
	set := unix.NewCPUSet(cpusMax)
	for _, cpu := range cpus {
		if cpu < 0 || cpu >= cpusMax {
			return fmt.Errorf("CPU %d is not in 0-%d: %w", cpu, cpusMax-1, unix.EINVAL)
		}
		set.Set(cpu)
	}
	return unix.SchedSetaffinityDynamic(tid, set)
}
