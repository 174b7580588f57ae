package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"culvert/controlplane/gateway"
	"culvert/controlplane/nic"
	"culvert/numa"
)

// examination is one look at a host. What cannot be read is a finding of its own and not an error: a doctor
// that gives up at the first thing missing is of little use.
type examination struct {
	Report
	host Host
	Place
	// interrupts by interface.
	interrupts map[string][]nic.Interrupt
}

// Examine judges a host.
func Examine(h Host) Report {
	e := &examination{host: h, interrupts: map[string][]nic.Interrupt{}}
	e.kernel()
	e.btf()
	e.jit()
	e.bpffs()
	e.capabilities()
	e.ioURing()
	e.realTime()
	e.place()
	e.memlock()
	for i := range h.Cards {
		e.card(&h.Cards[i])
	}
	e.balance()
	e.siblings()
	e.sleepStates()
	e.hugePages()
	e.running()
	return e.Report
}

// read is a file's text below the root without white space around it, and whether it is there.
func (e *examination) read(file string) (string, bool) {
	text, err := os.ReadFile(filepath.Join(e.host.Root, file))
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(text)), true
}

// number is a file's number, and whether there is one.
func (e *examination) number(file string) (int, bool) {
	text, ok := e.read(file)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// place makes the plan that a gateway would make, and reports what it notes.
func (e *examination) place() {
	const check = "placement"
	var err error
	e.Place, err = e.host.Place()
	var demand *gateway.PlanError
	switch {
	case errors.As(err, &demand):
		e.add(Fail, check, "", "`workers: {cpus: auto, numa: local}`, or CPUs and a node that this process "+
			"may use", "%v", err)
	case err != nil:
		e.add(Skip, check, "", "", "%v", err)
	}
	if e.Plan == nil {
		return
	}
	for _, note := range e.Plan.Notes {
		e.add(Warn, check, "", note.Remedy, "%s", note.Text)
	}
	if len(e.Plan.Notes) == 0 {
		e.add(Pass, check, "", "", "%d %s on %s %s, housekeeping on %s", len(e.Plan.Workers),
			plural(len(e.Plan.Workers), "worker", "workers"),
			plural(len(e.WorkerCPUs()), "CPU", "CPUs"), numa.FormatList(e.WorkerCPUs()),
			e.Plan.HousekeepingList())
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
