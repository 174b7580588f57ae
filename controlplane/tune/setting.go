package tune

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"culvert/controlplane/nic"
)

// Kind is what sort of thing a setting is.
type Kind string

// The kinds. A file is one of /proc or /sys; the others are an interface's, by the kernel's ethtool.
const (
	File     Kind = "file"
	Channels Kind = "channels" // "rx 4 tx 4 combined 0"
	Rings    Kind = "rings"    // "rx 4096 tx 512"
	Offload  Kind = "offload"  // "on" or "off"

	// Of how a card chooses a packet's queue, by the older requests of ethtool.
	Hash        Kind = "hash"        // of a flow, "udp4": the fields, "sdfn"
	Indirection Kind = "indirection" // "0 1 2 3 / 128"
	Rule        Kind = "rule"        // at a location, "1023": "udp4 dst-port 8089 action 2", or "none"
)

// Setting names one thing that can be set.
type Setting struct {
	Kind      Kind   `json:"kind"`
	Interface string `json:"interface,omitempty"` // of the card, but for files
	Name      string `json:"name"`                // path from the root, offload, flow, location
}

func (s Setting) String() string {
	if s.Kind == File {
		return "/" + s.Name
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Interface, s.Kind, s.Name))
}

// resetsLink tells whether setting it may take the link down and deal interrupts out anew.
func (s Setting) resetsLink() bool { return s.Kind != File }

// Knobs are the host's settings, by name. Values are written as they are read.
type Knobs interface {
	Read(Setting) (string, error)
	Write(Setting, string) error
}

// Machine is the knobs of the machine that we run on, with files below Root.
type Machine struct{ Root string }

// Read is a setting's value now.
func (m Machine) Read(s Setting) (string, error) {
	switch s.Kind {
	case File:
		text, err := os.ReadFile(filepath.Join(m.Root, s.Name))
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(string(text)), nil
	case Channels:
		c, err := nic.AskChannels(s.Interface)
		return fmt.Sprintf("rx %d tx %d combined %d", c.RX, c.TX, c.Combined), err
	case Rings:
		r, err := nic.AskRings(s.Interface)
		return fmt.Sprintf("rx %d tx %d", r.RX, r.TX), err
	case Offload:
		features, err := nic.AskFeatures(s.Interface)
		if err == nil && features[s.Name].Active {
			return "on", nil
		}
		return "off", err
	}
	return readSpread(s)
}

// Write sets it.
func (m Machine) Write(s Setting, value string) error {
	switch s.Kind {
	case File:
		// Not created where it is not: files of the kernel are there or are not.
		file, err := os.OpenFile(filepath.Join(m.Root, s.Name), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		_, err = file.WriteString(value + "\n")
		if closed := file.Close(); err == nil {
			err = closed
		}
		return err
	case Channels:
		n, err := counts(value)
		if err != nil {
			return err
		}
		return nic.SetChannels(s.Interface, nic.Channels{RX: n["rx"], TX: n["tx"], Combined: n["combined"]})
	case Rings:
		n, err := counts(value)
		if err != nil {
			return err
		}
		return nic.SetRings(s.Interface, nic.Rings{RX: n["rx"], TX: n["tx"]})
	case Offload:
		return nic.SetFeatures(s.Interface, map[string]bool{s.Name: value == "on"})
	}
	return writeSpread(s, value)
}

// counts reads "rx 4 tx 4".
func counts(text string) (map[string]uint32, error) {
	fields := strings.Fields(text)
	if len(fields)%2 != 0 {
		return nil, fmt.Errorf("read %q: a name without a number", text)
	}
	values := map[string]uint32{}
	for i := 0; i < len(fields); i += 2 {
		n, err := strconv.ParseUint(fields[i+1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", text, err)
		}
		values[fields[i]] = uint32(n)
	}
	return values, nil
}
