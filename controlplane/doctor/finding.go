package doctor

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Status is how grave a finding is.
type Status uint8

// The statuses. Skip is for what could not be looked at, with the reason; it counts for nothing.
const (
	Pass Status = iota
	Skip
	Warn // it runs, and could run better or more safely
	Fail // a gateway does not run, or not as it was asked to
)

func (s Status) String() string { return [...]string{"PASS", "SKIP", "WARN", "FAIL"}[s] }

// MarshalText is the status in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a status from JSON.
func (s *Status) UnmarshalText(text []byte) error {
	for known := Pass; known <= Fail; known++ {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("status %q is none of PASS, SKIP, WARN, FAIL", text)
}

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`            // its name, which stays the same: kernel, btf, offloads, …
	On     string `json:"on,omitempty"`     // an interface, a capability; empty: the host
	Status Status `json:"status"`           //
	Text   string `json:"text"`             // what is there
	Remedy string `json:"remedy,omitempty"` // a command, or a line of the configuration
}

// Report is all findings in the order they were made.
type Report struct {
	Findings []Finding `json:"findings"`
}

func (r *Report) add(status Status, check, on, remedy, format string, arguments ...any) {
	r.Findings = append(r.Findings, Finding{
		Check: check, On: on, Status: status, Text: fmt.Sprintf(format, arguments...), Remedy: remedy,
	})
}

// Count is how many findings have this status.
func (r *Report) Count(status Status) int {
	n := 0
	for _, f := range r.Findings {
		if f.Status == status {
			n++
		}
	}
	return n
}

// Render writes the report for people: a line for each finding, its remedy below.
func (r *Report) Render(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		name := f.Check
		if f.On != "" {
			name += " " + f.On
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, name, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", f.Remedy)
		}
	}
	w.Flush()
	fmt.Fprintf(out, "\n%d passed, %d to be looked at, %d missing, %d not looked at\n", r.Count(Pass),
		r.Count(Warn), r.Count(Fail), r.Count(Skip))
}
