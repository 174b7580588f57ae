package telemetry

import (
	"fmt"
	"io"
	"strings"
)

// Reload is what a reload of the configuration changed: the answer of POST /api/v1/reload.
type Reload struct {
	Rules     Difference `json:"rules"` // as group/kind/name
	Notifiers Difference `json:"notifiers"`
	// URLs are those that get new points, each behind the name of its sink.
	URLs Difference `json:"urls"`
	// Probes are those that measure.
	Probes Difference `json:"probes"`
	// Restart are the keys of the configuration that differ from what runs and that only a restart applies.
	Restart []string `json:"restart"`
	// Alerts and Keys are the pending and firing alerts, and the keys with a past, whose state went on.
	Alerts int `json:"alerts"`
	Keys   int `json:"keys"`
	// PauseSeconds is the longest time for which a worker took no packets.
	PauseSeconds float64 `json:"pause_seconds"`
	// Warnings is what did not go as it should, in plain words.
	Warnings []string `json:"warnings"`
}

// Difference is lists of names.
type Difference struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
	Kept    []string `json:"kept"`
}

// Refused is the error of a reload whose files are wrong: nothing has changed.
type Refused struct {
	File     string
	Mistakes []string // each with its place, the line and a caret
}

func (r *Refused) Error() string {
	if len(r.Mistakes) == 1 {
		return r.File + ": 1 mistake, nothing is changed"
	}
	return fmt.Sprintf("%s: %d mistakes, nothing is changed", r.File, len(r.Mistakes))
}

// Render writes a reload for people.
func (r *Reload) Render(w io.Writer) {
	for _, d := range []struct {
		what string
		*Difference
	}{{"rules", &r.Rules}, {"notifiers", &r.Notifiers}, {"urls", &r.URLs}, {"probes", &r.Probes}} {
		fmt.Fprintf(w, "%-10s %s\n", d.what, d.Difference)
		for _, list := range []struct {
			sign  string
			names []string
		}{{"+", d.Added}, {"~", d.Changed}, {"-", d.Removed}} {
			for _, name := range list.names {
				fmt.Fprintf(w, "  %s %s\n", list.sign, name)
			}
		}
	}
	fmt.Fprintf(w, "%-10s %d alerts, %d keys with a past\n", "state kept", r.Alerts, r.Keys)
	if len(r.Restart) > 0 {
		fmt.Fprintf(w, "%-10s %s\n", "not yet", "these keys changed too, and wait for a restart: "+
			strings.Join(r.Restart, ", "))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "%-10s %s\n", "warning", warning)
	}
}

// String is the lengths of the lists.
func (d *Difference) String() string {
	return fmt.Sprintf("%d added, %d changed, %d removed, %d kept", len(d.Added), len(d.Changed),
		len(d.Removed), len(d.Kept))
}

// Fill makes lists of nothing empty ones, so that JSON shows them as lists.
func (r *Reload) Fill() {
	for _, list := range []*[]string{
		&r.Rules.Added, &r.Rules.Changed, &r.Rules.Removed, &r.Rules.Kept, &r.Restart, &r.Warnings,
		&r.Notifiers.Added, &r.Notifiers.Changed, &r.Notifiers.Removed, &r.Notifiers.Kept,
		&r.URLs.Added, &r.URLs.Changed, &r.URLs.Removed, &r.URLs.Kept,
		&r.Probes.Added, &r.Probes.Changed, &r.Probes.Removed, &r.Probes.Kept,
	} {
		if *list == nil {
			*list = []string{}
		}
	}
}
