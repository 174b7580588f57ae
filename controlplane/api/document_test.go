package api

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"culvert/controlplane/telemetry"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md anew")

// Goal: docs/metrics.md lists every metric of the gateway as it is. Method: the table is made from a full
// scrape and compared, or written with -update.
func TestMetricsDocument(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(telemetry.NewCollector(busy),
		telemetry.NewProbeCollector(measuring{}, slog.New(slog.DiscardHandler)))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	table := "| metric | labels | |\n| --- | --- | --- |\n"
	for _, f := range families {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		slices.Sort(labels)
		kind := ""
		if f.GetType() == dto.MetricType_HISTOGRAM {
			kind = "Histogram. "
		}
		table += fmt.Sprintf("| `%s` | %s | %s%s |\n", f.GetName(), strings.Join(labels, " "), kind,
			f.GetHelp())
	}
	const file = "../../docs/metrics.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), " -update` -->\n")
	_, tail, closed := strings.Cut(rest, "<!-- /metrics -->")
	if !found || !closed {
		t.Fatal("the table's place is not marked")
	}
	want := head + " -update` -->\n" + table + "<!-- /metrics -->" + tail
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("docs/metrics.md is not what the gateway exposes: go test ./controlplane/api -run Document " +
			"-update")
	}
}
