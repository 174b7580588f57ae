package lab

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ClaimFile is locked while a demo or a benchmark runs, and holds the name of its folder until it has cleaned
// up. That a file with a name in it is not locked means that one died.
const ClaimFile = "/run/culvert-lab"

// Claim is the right to use the lab.
type Claim struct{ file *os.File }

// OpenClaim takes the claim, unless somebody has it. The name of a folder is what a run that died left
// behind; it is empty otherwise.
func OpenClaim(path string) (claim *Claim, left string, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("claim the lab: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, "", fmt.Errorf("claim the lab: another demo or benchmark is running: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		file.Close()
		return nil, "", fmt.Errorf("read what the last run left: %w", err)
	}
	return &Claim{file}, strings.TrimSpace(string(text)), nil
}

// Note writes down the folder of this run.
func (c *Claim) Note(folder string) error {
	if err := c.file.Truncate(0); err != nil {
		return fmt.Errorf("note the run's folder: %w", err)
	}
	if _, err := c.file.WriteAt([]byte(folder+"\n"), 0); err != nil {
		return fmt.Errorf("note the run's folder: %w", err)
	}
	return nil
}

// Close gives the claim back: everything has been cleaned up. The file stays, empty, so that nobody locks one
// that is being removed.
func (c *Claim) Close() error {
	err := c.file.Truncate(0)
	c.file.Close()
	return err
}
