// Package report is what a benchmark found out, and how it is written down: one Markdown file with a table of
// goals and verdicts, and one SVG for each sweep.
package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"culvert/bench/machine"
)

// Verdicts on a goal.
const (
	Met         = "met"
	Missed      = "missed"
	NoGoal      = "–"
	NotMeasured = "not measured"
)

// Row is one line of the table of goals.
type Row struct {
	ID, What, Goal, Figure, Spread, Verdict, Why string
}

// Table is figures beside each other.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
	Note  string
}

// Section is a heading with text, tables and plots below it.
type Section struct {
	Title  string
	Text   string
	Tables []Table
	Plots  []Plot
}

// Report is everything.
type Report struct {
	Title    string
	Date     time.Time
	Facts    machine.Facts
	Commit   string
	Versions [][2]string // program, version
	// Parameters are how it was measured, in words, one a line of a list.
	Parameters []string
	Rows       []Row
	Sections   []Section
	// Missing says what could not be measured, and why.
	Missing []string
	Took    time.Duration
}

// Name is the report's file name without its ending.
func (r *Report) Name() string { return r.Date.Format("2006-01-02") + "-" + r.Facts.Slug() }

// Write writes the report and its plots into a folder and returns the file's path. A suffix (optional) tells
// reports of one day apart.
func (r *Report) Write(folder, suffix string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make %q: %w", folder, err)
	}
	name := r.Name() + suffix
	var text strings.Builder
	r.head(&text)
	r.goals(&text)
	for i := range r.Sections {
		if err := r.Sections[i].write(&text, folder, name); err != nil {
			return "", err
		}
	}
	if len(r.Missing) > 0 {
		text.WriteString("\n## What could not be measured\n\n")
		for _, missing := range r.Missing {
			text.WriteString(fold("- "+missing, "  "))
		}
	}
	file := filepath.Join(folder, name+".md")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	return file, nil
}

func (r *Report) head(text *strings.Builder) {
	fmt.Fprintf(text, "# %s\n\n", r.Title)
	write(text, Table{Head: []string{"", ""}, Rows: [][]string{
		{"date", r.Date.Format("2006-01-02 15:04 MST")},
		{"commit", r.Commit},
		{"CPU", fmt.Sprintf("%s, %d CPUs (%s)", r.Facts.CPU, r.Facts.Cores, r.Facts.Caches)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(r.Facts.Memory)/(1<<30))},
		{"virtual", r.Facts.Virtual},
		{"kernel", r.Facts.Kernel},
		{"system", r.Facts.System},
		{"Go", r.Facts.Go},
		{"took", r.Took.Round(time.Second).String()},
	}})
	if len(r.Versions) > 0 {
		text.WriteString("\n")
		table := Table{Head: []string{"program", "version"}}
		for _, v := range r.Versions {
			table.Rows = append(table.Rows, []string{v[0], v[1]})
		}
		write(text, table)
	}
	text.WriteString("\n")
	for _, parameter := range r.Parameters {
		text.WriteString(fold("- "+parameter, "  "))
	}
}

func (r *Report) goals(text *strings.Builder) {
	if len(r.Rows) == 0 {
		return
	}
	text.WriteString("\n## Goals\n\n")
	table := Table{Head: []string{"#", "what", "goal", "figure", "spread", "verdict", "why"}}
	for _, row := range r.Rows {
		table.Rows = append(table.Rows, []string{
			row.ID, row.What, row.Goal, row.Figure, row.Spread, row.Verdict, row.Why,
		})
	}
	write(text, table)
}

// columns is how wide a paragraph is.
const columns = 110

// fold breaks a paragraph into lines, those behind the first indented.
func fold(text, indent string) string {
	var folded strings.Builder
	width := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
			folded.WriteString(word)
			width = n
		case width+1+n > columns:
			folded.WriteString("\n" + indent + word)
			width = len(indent) + n
		default:
			folded.WriteString(" " + word)
			width += 1 + n
		}
	}
	return folded.String() + "\n"
}

func (s *Section) write(text *strings.Builder, folder, name string) error {
	fmt.Fprintf(text, "\n## %s\n", s.Title)
	if s.Text != "" {
		text.WriteString("\n" + fold(s.Text, ""))
	}
	for _, table := range s.Tables {
		text.WriteString("\n")
		if table.Title != "" {
			fmt.Fprintf(text, "**%s**\n\n", table.Title)
		}
		write(text, table)
		if table.Note != "" {
			text.WriteString("\n" + fold(table.Note, ""))
		}
	}
	for i := range s.Plots {
		plot := &s.Plots[i]
		if len(plot.Curves)+len(plot.Bars) == 0 {
			continue
		}
		file := name + "-" + plot.Name + ".svg"
		if err := plot.save(filepath.Join(folder, file)); err != nil {
			return err
		}
		fmt.Fprintf(text, "\n![%s](%s)\n", plot.Title, file)
	}
	return nil
}

// write is a table in Markdown. A bar in a cell would end it.
func write(text *strings.Builder, table Table) {
	line := func(cells []string) {
		for _, cell := range cells {
			text.WriteString("| " + strings.ReplaceAll(cell, "|", "\\|") + " ")
		}
		text.WriteString("|\n")
	}
	line(table.Head)
	text.WriteString(strings.Repeat("| --- ", len(table.Head)) + "|\n")
	for _, row := range table.Rows {
		line(row)
	}
}

// Spread is several measurements of one thing.
type Spread []float64

// Median is the middle one, or the mean of the two in the middle; NaN without any.
func (s Spread) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Text is the least and the greatest, as a person reads them, with a unit.
func (s Spread) Text(format func(float64) string) string {
	if len(s) < 2 {
		return "one run"
	}
	return fmt.Sprintf("%s to %s (%d runs)", format(slices.Min(s)), format(slices.Max(s)), len(s))
}

// Count is a number with a prefix: 1.23 M, 45.6 k.
func Count(n float64) string {
	switch {
	case math.IsNaN(n):
		return "–"
	case n >= 999.5e3:
		return digits(n/1e6) + " M"
	case n >= 999.5:
		return digits(n/1e3) + " k"
	}
	return digits(n)
}

// Seconds is a time with a unit: 12.3 µs, 4.5 ms.
func Seconds(s float64) string {
	switch {
	case math.IsNaN(s):
		return "–"
	case s == 0:
		return "0"
	case s < 0.9995e-6:
		return digits(s*1e9) + " ns"
	case s < 0.9995e-3:
		return digits(s*1e6) + " µs"
	case s < 0.9995:
		return digits(s*1e3) + " ms"
	}
	return digits(s) + " s"
}

// Percent is a share.
func Percent(share float64) string {
	if math.IsNaN(share) {
		return "–"
	}
	return digits(100*share) + " %"
}

// Times is a ratio.
func Times(ratio float64) string {
	if math.IsNaN(ratio) {
		return "–"
	}
	return digits(ratio) + " ×"
}

// digits has three figures, or all before the point.
func digits(n float64) string {
	switch a := math.Abs(n); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", n)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.2f", n)
}
