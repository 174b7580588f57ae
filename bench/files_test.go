package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/rulefile"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
)

// compiled is how many rules a file has, once it is compiled as the gateway does it.
func compiled(t *testing.T, file string) (selected, all int) {
	t.Helper()
	groups, mistakes := rulefile.Load([]string{file})
	for _, mistake := range mistakes {
		t.Error(mistake.Detail())
	}
	if _, mistakes = rules.Compile(groups); len(mistakes) > 0 {
		t.Fatal(mistakes[0].Detail())
	}
	for _, group := range groups {
		all += len(group.Rules)
		for _, rule := range group.Rules {
			if strings.HasPrefix(rule.Expr.Source, "tags.") {
				selected++
			}
		}
	}
	return selected, all
}

// Goal: the first row's rules are what its goal names.
func TestTenRules(t *testing.T) {
	if selected, all := compiled(t, "rules10.yaml"); selected != 8 || all != 10 {
		t.Errorf("%d rules, %d of them selected by a tag; want 10 and 8", all, selected)
	}
}

func TestSweepRules(t *testing.T) {
	text := rulesOf(1000)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if selected, all := compiled(t, file); selected != 1000 || all != 1000 {
		t.Errorf("%d rules, %d of them selected by a tag; want 1000", all, selected)
	}
}

// Goal: the mixture is good Line Protocol of several measurements.
func TestMixedLines(t *testing.T) {
	var d lineproto.Decoder
	var p point.Point
	lines := []byte(mixedLines())
	measurements, n := map[string]bool{}, 0
	for d.Start(lines, lineproto.Nanosecond, &p); ; n++ {
		outcome := d.Next(&p)
		if outcome == lineproto.End {
			break
		}
		if outcome != lineproto.OK {
			t.Fatalf("line %d: %s", n+1, d.Reason())
		}
		measurements[string(p.Bytes(p.Measurement))] = true
	}
	if n != 1000 || len(measurements) != 7 {
		t.Errorf("%d lines of %d measurements, want 1000 of 7", n, len(measurements))
	}
}
