package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of /proc/stat: USER_HZ, 100 on every architecture that Go runs on.
const userHZ = 100

// Times is what CPUs did since the machine started.
type Times struct {
	User, System, IRQ, SoftIRQ, Idle, Steal time.Duration
}

// Busy is user, system and softirq together: the cost of what ran there. Time that the hypervisor stole is
// none of it.
func (t Times) Busy() time.Duration { return t.User + t.System + t.IRQ + t.SoftIRQ }

// Sub is what was done since an earlier reading.
func (t Times) Sub(before Times) Times {
	return Times{
		User: t.User - before.User, System: t.System - before.System, IRQ: t.IRQ - before.IRQ,
		SoftIRQ: t.SoftIRQ - before.SoftIRQ, Idle: t.Idle - before.Idle, Steal: t.Steal - before.Steal,
	}
}

// CPUTimes is what these CPUs did, added up.
func CPUTimes(cpus []int) (Times, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Times{}, fmt.Errorf("read CPU times: %w", err)
	}
	return parseStat(string(text), cpus)
}

func parseStat(text string, cpus []int) (Times, error) {
	var sum Times
	lines := map[string][]string{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 8 {
			lines[fields[0]] = fields[1:]
		}
	}
	for _, cpu := range cpus {
		fields, found := lines["cpu"+strconv.Itoa(cpu)]
		if !found {
			return Times{}, fmt.Errorf("read CPU times: there is no CPU %d", cpu)
		}
		var ticks [8]time.Duration // user nice system idle iowait irq softirq steal (proc_stat(5))
		for i := range ticks {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return Times{}, fmt.Errorf("read times of CPU %d: %w", cpu, err)
			}
			ticks[i] = time.Duration(n) * time.Second / userHZ
		}
		sum.User += ticks[0] + ticks[1]
		sum.System += ticks[2]
		sum.Idle += ticks[3] + ticks[4]
		sum.IRQ += ticks[5]
		sum.SoftIRQ += ticks[6]
		sum.Steal += ticks[7]
	}
	return sum, nil
}

// ThreadTime is the time that the threads of a process ran which may use these CPUs alone: for a gateway, its
// workers pinned there.
func ThreadTime(pid int, cpus []int) (time.Duration, error) {
	want := map[string]bool{}
	for _, cpu := range cpus {
		want[strconv.Itoa(cpu)] = true
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, task := range tasks {
		if !want[allowedList(task)] {
			continue
		}
		ran, err := ranTime(filepath.Join(task, "schedstat"))
		if err != nil {
			continue // The thread has ended meanwhile.
		}
		sum += ran
	}
	return sum, nil
}

// allowedList is the list of CPUs that a thread may use, as the kernel writes it; empty if it has ended.
func allowedList(task string) string {
	text, err := os.ReadFile(filepath.Join(task, "status"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if list, found := strings.CutPrefix(line, "Cpus_allowed_list:"); found {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

func ranTime(schedstat string) (time.Duration, error) {
	text, err := os.ReadFile(schedstat)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", schedstat, err)
	}
	return time.Duration(n), nil
}

// ProgramTime is the time that all threads of a process ran, those that have ended included. Its unit is a
// tick of 10 ms.
func ProgramTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read times of process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read times of process %d: %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read times of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

// Resident is the memory of a process that is in RAM, in bytes.
func Resident(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("read memory of process %d: there is no VmRSS", pid)
}

// TasksTime is the time that the threads of a process ran which live now, by the scheduler's clock: finer
// than ProgramTime, for processes whose threads do not come and go.
func TasksTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		return 0, fmt.Errorf("read times of process %d: it has no threads", pid)
	}
	var sum time.Duration
	for _, file := range files {
		if ran, err := ranTime(file); err == nil {
			sum += ran
		}
	}
	return sum, nil
}
