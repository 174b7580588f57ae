// Package stage is the lab of a benchmark with everybody on it: a sender, a receiver under test, and what
// the receiver writes to. It measures what one load costs a receiver and finds the highest load that a
// receiver takes without loss.
//
//	culvert-tx, first CPU          culvert-gw, worker CPUs      culvert-gw, first CPU
//	culvert load ─────────────────── receiver under test ────────── sink (if it has one)
//
// Whatever it starts it ends; a run that died is cleaned up after by the next one.
package stage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"culvert/bench/machine"
	"culvert/scripts/lab"
)

const (
	// Port is where every receiver under test listens, by UDP.
	Port = 8089
	// Database is the database of every sink that has such a thing.
	Database = "bench"

	sinkAddress    = "127.0.0.1:8087" // in the gateway's namespace, as all of these
	gatewayAddress = "127.0.0.1:9490"
	selfAddress    = "127.0.0.1:9491" // of a receiver that this program is itself
	peerAddress    = "127.0.0.1:9492" // of a peer's own figures
	passAddress    = "127.0.0.1:9493" // of the program that passes packets to receivers by sockets
)

// Stage is the lab and what all runs on it have in common.
type Stage struct {
	Places  machine.Places
	Culvert string // the binary
	Self    string // this program
	Folder  string // in memory; removed at the end

	lab    *lab.Lab
	claim  *lab.Claim
	client *http.Client
	runs   int // numbers the logs
}

// Open makes the lab. Close must be called even if it fails.
func Open(culvert string, places machine.Places) (*Stage, error) {
	s := &Stage{Places: places}
	if os.Getuid() != 0 {
		return s, errors.New("make the lab: network namespaces and XDP need root")
	}
	var err error
	if s.Culvert, err = filepath.Abs(culvert); err != nil {
		return s, fmt.Errorf("find %q: %w", culvert, err)
	}
	for program, remedy := range map[string]string{
		s.Culvert: "`make build`", "ip": "install iproute2", "taskset": "install util-linux",
		"nsenter": "install util-linux",
	} {
		if !lab.Installed(program) {
			return s, fmt.Errorf("make the lab: %s is missing: %s", program, remedy)
		}
	}
	if s.Self, err = os.Executable(); err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	claim, left, err := lab.OpenClaim(lab.ClaimFile)
	if err != nil {
		return s, err
	}
	s.claim = claim
	if left != "" {
		if err := errors.Join(lab.Remove(), restore(left), os.RemoveAll(left)); err != nil {
			return s, fmt.Errorf("clean up after a run that died: %w", err)
		}
	}
	if s.Folder, err = os.MkdirTemp("/dev/shm", "culvert-bench-"); err != nil {
		return s, fmt.Errorf("make a folder: %w", err)
	}
	if err := claim.Note(s.Folder); err != nil {
		return s, err
	}
	if s.lab, err = lab.Open(len(places.Workers)); err != nil {
		return s, err
	}
	s.client = s.lab.Client()
	return s, raise(s.Folder)
}

// Close takes down what Open set up. It may be called at any time and more than once.
func (s *Stage) Close() error {
	var errs []error
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
		s.lab = nil
	}
	if s.Folder != "" {
		errs = append(errs, restore(s.Folder), os.RemoveAll(s.Folder))
	}
	if s.claim != nil && errors.Join(errs...) == nil {
		errs = append(errs, s.claim.Close())
		s.claim = nil
	}
	return errors.Join(errs...)
}

// urgency is that of all programs on the stage, so that what else runs on the machine disturbs them little.
const urgency = -20

func place(cpus string) lab.Place { return lab.Place{CPUs: cpus, Nice: urgency} }

// run starts a program on CPUs in the gateway's namespace. Its log has a name of its own.
func (s *Stage) run(cpus, name, program string, arguments ...string) (*lab.Child, error) {
	s.runs++
	log := filepath.Join(s.Folder, fmt.Sprintf("%03d-%s.log", s.runs, name))
	return lab.StartChildAt(s.lab.Gateway, place(cpus), log, program, arguments...)
}

// fetch gets a document from inside the gateway's namespace.
func (s *Stage) fetch(ctx context.Context, address, path string) ([]byte, error) {
	return lab.Fetch(ctx, s.client, "http://"+address+path)
}
