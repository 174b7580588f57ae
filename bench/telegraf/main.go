// Command telegraf is Telegraf with the few plugins that the benchmark compares with, as its own agent runs
// them, and one addition: GET /stats says how many metrics it has gathered, written and dropped.
//
// It is a module of its own, so that nothing else of this tree depends on Telegraf.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/models"
	_ "github.com/influxdata/telegraf/plugins/inputs/socket_listener"
	_ "github.com/influxdata/telegraf/plugins/outputs/discard"
	_ "github.com/influxdata/telegraf/plugins/outputs/influxdb"
	_ "github.com/influxdata/telegraf/plugins/parsers/influx"
	_ "github.com/influxdata/telegraf/plugins/parsers/influx/influx_upstream"
	_ "github.com/influxdata/telegraf/plugins/processors/starlark"
)

func main() {
	file := flag.String("config", "", "Telegraf's configuration")
	stats := flag.String("stats", "127.0.0.1:9492", "where GET /stats is answered")
	version := flag.Bool("version", false, "print Telegraf's version and end")
	flag.Parse()
	if *version {
		fmt.Println(moduleVersion())
		return
	}
	if err := run(*file, *stats); err != nil {
		log.Fatal(err)
	}
}

func run(file, stats string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c := config.NewConfig()
	if err := c.LoadAll(file); err != nil {
		return fmt.Errorf("load %q: %w", file, err)
	}
	server := &http.Server{
		Addr: stats, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(serveStats),
	}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	ended := make(chan error, 1)
	go func() { ended <- agent.NewAgent(c).Run(ctx) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve figures on %s: %w", stats, err)
	case err := <-ended:
		return err
	}
}

// serveStats answers with the agent's own sums.
func serveStats(w http.ResponseWriter, _ *http.Request) {
	err := json.NewEncoder(w).Encode(map[string]int64{
		"gathered": models.GlobalMetricsGathered.Get(),
		"written":  models.AgentMetricsWritten.Get(),
		"dropped":  models.AgentMetricsDropped.Get(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
	}
}

func moduleVersion() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range build.Deps {
		if module.Path == "github.com/influxdata/telegraf" {
			return module.Version
		}
	}
	return "unknown"
}
