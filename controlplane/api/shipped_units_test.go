package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Goal: figures of the shipped dashboard mean what they look like. A panel whose figures are all a second
// says so by its unit, and none else does; one big figure has its own colours, since Grafana's turn red from
// 80 on, whatever it counts.
func TestDashboardUnitsAndColours(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shipped, "grafana/culvert.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
			FieldConfig struct {
				Defaults struct {
					Unit       string
					Thresholds *struct{ Steps []struct{ Color string } }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	rates, figures := 0, 0
	for _, panel := range dashboard.Panels {
		defaults := panel.FieldConfig.Defaults
		if panel.Type == "stat" {
			figures++
			if defaults.Thresholds == nil || len(defaults.Thresholds.Steps) == 0 {
				t.Errorf("panel %q has no colours of its own", panel.Title)
			}
		}
		all := len(panel.Targets) > 0
		for _, target := range panel.Targets {
			of, rate := strings.CutPrefix(target.Expr, "sum")
			all = all && rate && strings.Contains(of, "(rate(") && !strings.Contains(of, " / ")
		}
		unit := slices.Contains([]string{"cps", "pps", "reqps"}, defaults.Unit)
		if all != unit {
			t.Errorf("panel %q: unit %q, all of its figures a second: %t", panel.Title, defaults.Unit, all)
		}
		if all {
			rates++
		}
	}
	if rates < 10 || figures < 6 {
		t.Errorf("only %d panels of rates, %d of one figure", rates, figures)
	}
}
