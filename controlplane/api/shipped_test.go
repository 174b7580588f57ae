package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

const shipped = "../../deploy"

// exposed is every metric that a full scrape shows, with the names of its labels.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	handler, err := (&Server{config: Config{Log: slog.New(slog.DiscardHandler), Snapshot: busy,
		Probes: measuring{}}}).metrics()
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	metrics := map[string][]string{"up": nil}
	series := regexp.MustCompile(`(?m)^([a-z_0-9]+)(?:\{(.*)\})? \S+$`)
	label := regexp.MustCompile(`([a-z_]+)="`)
	for _, m := range series.FindAllStringSubmatch(answer.Body.String(), -1) {
		metrics[m[1]] = nil
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			metrics[m[1]] = append(metrics[m[1]], l[1])
		}
	}
	return metrics
}

// checkQuery complains about metrics that do not exist and labels that they do not have.
func checkQuery(t *testing.T, metrics map[string][]string, query string) {
	t.Helper()
	name := regexp.MustCompile(`\b((?:culvert|go|process)_[a-z_0-9]+|up)\b(?:\{([^}]*)\})?`)
	found := name.FindAllStringSubmatch(query, -1)
	if found == nil {
		t.Errorf("there is no metric in %s", query)
	}
	// What Prometheus adds to every series.
	labels := []string{"instance", "job"}
	for _, m := range found {
		own, there := metrics[m[1]]
		if !there {
			t.Errorf("there is no metric %s, as in %s", m[1], query)
		}
		labels = append(labels, own...)
		for _, l := range regexp.MustCompile(`([a-z_]+)\s*[=!]`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "instance" && l[1] != "job" && !slices.Contains(own, l[1]) {
				t.Errorf("%s has no label %s, as in %s", m[1], l[1], query)
			}
		}
	}
	for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(l)) {
				t.Errorf("no metric has the label %s, as in %s", l, query)
			}
		}
	}
}

// Goal: the dashboard shows what there is. Method: each of its queries by name and label against a full
// scrape; each legend's labels are those that its query keeps.
func TestDashboardQueriesWhatThereIs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shipped, "grafana/culvert.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	metrics := exposed(t)
	legendLabel := regexp.MustCompile(`\{\{(\w+)\}\}`)
	ids := map[int]bool{}
	var queries []string
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("panel %q has the number of another one", panel.Title)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q has no query", panel.Title)
		}
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
			checkQuery(t, metrics, target.Expr)
			for _, l := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !regexp.MustCompile(`by \([^)]*\b` + l[1] + `\b`).MatchString(target.Expr) {
					t.Errorf("the legend %q of %s names a label that is summed away", target.LegendFormat,
						target.Expr)
				}
			}
		}
	}
	if dashboard.UID != "culvert" || len(queries) < 30 {
		t.Errorf("dashboard %q with %d queries", dashboard.UID, len(queries))
	}
	checkSyntax(t, queries)
}

// checkSyntax lets Prometheus' own parser read the queries, as rules that record them.
func checkSyntax(t *testing.T, queries []string) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		testenv.Skip(t, "promtool is missing (Debian: prometheus)")
	}
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, query := range queries {
		query = strings.ReplaceAll(query, "$__rate_interval", "1m")
		rules += fmt.Sprintf("  - {record: 'q%d', expr: '%s'}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

// Goal: each alert is about metrics that exist, and has its case among the rules' tests.
func TestAlertRulesQueryWhatThereIs(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(shipped, "prometheus/culvert.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile(filepath.Join(shipped, "prometheus/culvert.rules_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	metrics := exposed(t)
	alerts := regexp.MustCompile(`(?s)alert: (\w+)\n\s+expr: (?:>-)?(.*?)\n\s+(?:for|labels):`)
	found := alerts.FindAllStringSubmatch(string(rules), -1)
	if len(found) != strings.Count(string(rules), "- alert:") || len(found) < 10 {
		t.Fatalf("%d alerts were read", len(found))
	}
	for _, alert := range found {
		checkQuery(t, metrics, strings.Join(strings.Fields(alert[2]), " "))
		if n := strings.Count(string(cases), "alertname: "+alert[1]+"\n"); n != 2 {
			t.Errorf("%s has %d cases, want one that fires and one that does not", alert[1], n)
		}
	}
}

// Goal: what is shipped for Prometheus is right by its own tool, and the alerts fire when they should.
func TestPromtoolAcceptsWhatIsShipped(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		testenv.Skip(t, "promtool is missing (Debian: prometheus)")
	}
	for _, arguments := range [][]string{
		{"check", "config", "prometheus.yml"}, {"check", "rules", "culvert.rules.yml"},
		{"test", "rules", "culvert.rules_test.yml"},
	} {
		command := exec.Command(promtool, arguments...)
		command.Dir = filepath.Join(shipped, "prometheus")
		out, err := command.CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("WARN")) || bytes.Contains(out, []byte("FAIL")) {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
}
