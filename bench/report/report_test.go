package report

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/bench/machine"
)

func TestFigures(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(Count(0), "0.00")
	f(Count(999.6), "1.00 k")
	f(Count(123456), "123 k")
	f(Count(1.234e6), "1.23 M")
	f(Count(math.NaN()), "–")
	f(Seconds(97e-9), "97.0 ns")
	f(Seconds(4.2e-3), "4.20 ms")
	f(Percent(0.613), "61.3 %")
	f(Times(18.04), "18.0 ×")
	f(Spread{3, 1, 2}.Text(Count), "1.00 to 3.00 (3 runs)")
	f(Spread{3}.Text(Count), "one run")
	f(Count(Spread{3, 1, 2, 4}.Median()), "2.50")
}

// Goal: a report names its plots and they are there, also where an axis has decades.
func TestWrite(t *testing.T) {
	folder := t.TempDir()
	r := &Report{
		Title: "Title", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Facts: machine.Facts{CPU: "A B (x)"},
		Rows:  []Row{{ID: "1", What: "a|b", Verdict: Met}}, Missing: []string{"this"},
		Sections: []Section{{Title: "S", Plots: []Plot{{
			Name: "p", Title: "P", LogX: true, GoalY: 3,
			Curves: []Curve{{Name: "c", Points: [][2]float64{{100, 1}, {1e6, 2}}}},
		}, {
			Name: "bars", Title: "B", X: "points/s", Bars: []Bar{{"us", 3e6}, {"them", 4e5}},
		}}}},
	}
	file, err := r.Write(folder, "-peers")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(folder, "2026-01-02-a-b-x-0cpu-peers.md"); file != want {
		t.Errorf("wrote %q, want %q", file, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`| 1 | a\|b |`, "- this", "](2026-01-02-a-b-x-0cpu-peers-p.svg)"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the report:\n%s", want, text)
		}
	}
	for plot, want := range map[string]string{"p": "<svg", "bars": "them: 400 k"} {
		picture, err := os.ReadFile(filepath.Join(folder, "2026-01-02-a-b-x-0cpu-peers-"+plot+".svg"))
		if err != nil || !strings.Contains(string(picture), want) {
			t.Errorf("the plot %s has no %q: %v", plot, want, err)
		}
	}
}

func TestFold(t *testing.T) {
	f := func(text, indent, want string) {
		t.Helper()
		if got := fold(text, indent); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	word := strings.Repeat("ö", 54)
	f("", "", "\n")
	f("- a  b", "  ", "- a b\n")
	f(word+" "+word+" a", "", word+" "+word+"\na\n")
	f("- "+word+" "+word, "  ", "- "+word+"\n  "+word+"\n")
}
