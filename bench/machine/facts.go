package machine

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"culvert/numa"
)

// Facts are what a reader of a report must know of the machine.
type Facts struct {
	CPU     string // its name
	Cores   int
	Caches  string
	Memory  uint64 // bytes
	Kernel  string
	System  string // the distribution's name
	Go      string
	Virtual string // the hypervisor; empty on bare metal or where unknown
}

// Look reads the facts. What cannot be found out is empty.
func Look() Facts {
	facts := Facts{
		CPU: field("/proc/cpuinfo", "model name\t: "), Cores: runtime.NumCPU(), Go: runtime.Version(),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME="), `"`),
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		facts.Kernel = unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
	}
	kib, err := strconv.ParseUint(strings.TrimSuffix(
		strings.TrimSpace(field("/proc/meminfo", "MemTotal:")), " kB"), 10, 64)
	if err == nil {
		facts.Memory = kib << 10
	}
	if out, err := exec.Command("lscpu").Output(); err == nil {
		facts.Virtual = column(string(out), "Hypervisor vendor:")
		for _, cache := range []string{"L1d", "L2", "L3"} {
			if size := column(string(out), cache+" cache:"); size != "" {
				facts.Caches += fmt.Sprintf(", %s %s", cache, size)
			}
		}
		facts.Caches = strings.TrimPrefix(facts.Caches, ", ")
	}
	return facts
}

// field is what follows a word at the beginning of a line, in the first line that has it.
func field(file, word string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return column(string(text), word)
}

func column(text, word string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, word); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Slug is the CPU's name as a part of a file's name.
func (f Facts) Slug() string {
	slug := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(f.CPU), "-"), "-")
	if slug == "" {
		slug = "unknown"
	}
	return fmt.Sprintf("%s-%dcpu", slug, f.Cores)
}

// Places are the CPUs of a benchmark: the sender and the receiver's sink on one, the receiver on others.
type Places struct {
	Sender  int
	Workers []int
}

// Deal deals out the CPUs that this process may use: the first to the sender and the sink, the next ones to
// up to so many workers. It needs two CPUs.
func Deal(workers int) (Places, error) {
	allowed, err := numa.Allowed()
	if err != nil {
		return Places{}, err
	}
	if len(allowed) < 2 {
		return Places{}, fmt.Errorf("deal out the CPUs: this process may use CPU %s alone, and sender and "+
			"receiver need one each", numa.FormatList(allowed))
	}
	workers = min(max(workers, 1), len(allowed)-1)
	return Places{Sender: allowed[0], Workers: allowed[1 : 1+workers]}, nil
}

// SenderList and WorkerList are the CPUs as lists of CPUs are written.
func (p Places) SenderList() string { return strconv.Itoa(p.Sender) }

// WorkerList is the workers' CPUs as lists of CPUs are written.
func (p Places) WorkerList() string { return numa.FormatList(p.Workers) }

// All is every CPU of the benchmark as lists of CPUs are written.
func (p Places) All() string { return numa.FormatList(append([]int{p.Sender}, p.Workers...)) }
