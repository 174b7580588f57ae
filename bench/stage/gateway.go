package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"culvert/controlplane/telemetry"
	"culvert/scripts/lab"
)

// GatewayConfig says how Culvert runs.
type GatewayConfig struct {
	Sink        Sink
	Rules       string // a rule file; empty: none
	Mode        string // of the interface; empty: auto
	Wait        string // of the workers; empty: the default
	Connections int    // 0: the default
	Batch       string // a YAML mapping; empty: the default
	Spool       bool   // in memory, where the stage has its files
	Alerts      string // UDP address to which the notifier `plc` sends, via: xdp; empty: there is none
}

// Gateway is a running Culvert.
type Gateway struct {
	stage *Stage
	child *lab.Child
	name  string
	spool string // its folder, which ends with it; empty: none
}

// OpenGateway starts Culvert on the workers' CPUs and waits until it is ready.
func (s *Stage) OpenGateway(ctx context.Context, c GatewayConfig) (*Gateway, error) {
	if c.Mode == "" {
		c.Mode = "auto"
	}
	if c.Wait == "" {
		c.Wait = "adaptive"
	}
	spool := ""
	if c.Spool {
		var err error
		if spool, err = s.folder("spool"); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(s.Folder, "culvert.yaml")
	out, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("write the gateway's configuration: %w", err)
	}
	defer out.Close()
	err = configuration.Execute(out, map[string]any{
		"Interface": lab.GatewayInterface, "Mode": c.Mode, "Port": Port, "CPUs": s.Places.WorkerList(),
		"Wait": c.Wait, "Rules": c.Rules, "URL": c.Sink.URL(), "Database": Database, "Listen": gatewayAddress,
		"Connections": c.Connections, "Batch": c.Batch, "Alerts": c.Alerts,
		"Spool": spool,
	})
	if err != nil {
		return nil, fmt.Errorf("write the gateway's configuration: %w", err)
	}
	child, err := s.run(s.Places.All(), "culvert", s.Culvert, "run", "-c", file)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(spool))
	}
	g := &Gateway{stage: s, child: child, name: "Culvert, mode " + c.Mode, spool: spool}
	return g, lab.Await(ctx, "gateway", child, func() error {
		_, err := s.fetch(ctx, gatewayAddress, "/health/ready")
		return err
	})
}

// Name says what it is, for people.
func (g *Gateway) Name() string { return g.name }

// Main is its process.
func (g *Gateway) Main() *lab.Child { return g.child }

// Close ends it.
func (g *Gateway) Close() error { return errors.Join(g.child.Stop(), os.RemoveAll(g.spool)) }

// Count is what its ledger says.
func (g *Gateway) Count(ctx context.Context) (Count, error) {
	status, err := g.Status(ctx)
	if err != nil {
		return Count{}, err
	}
	if status.Ledger.Residue != 0 && status.Ledger.InFlight == 0 {
		return Count{}, fmt.Errorf("the gateway's ledger has a residue of %d: this is a bug",
			status.Ledger.Residue)
	}
	losses := map[string]uint64{"packets by a full socket": status.Packets.KernelDrops}
	for reason, n := range status.Packets.Drops {
		losses["packets by "+reason] = n
	}
	for reason, n := range status.Ledger.Dropped {
		losses["points by "+reason] = n
	}
	return Count{
		Packets: status.Packets.Received, Points: status.Ledger.Written,
		Waiting: status.Ledger.InFlight + status.Ledger.SpoolPending, Losses: losses,
	}, nil
}

// Status is all it says of itself.
func (g *Gateway) Status(ctx context.Context) (*telemetry.Status, error) {
	body, err := g.stage.fetch(ctx, gatewayAddress, "/api/v1/status")
	if err != nil {
		return nil, err
	}
	status := new(telemetry.Status)
	if err := json.Unmarshal(body, status); err != nil {
		return nil, fmt.Errorf("read the gateway's status: %w", err)
	}
	return status, nil
}

// Metrics is its exposition as text.
func (g *Gateway) Metrics(ctx context.Context) ([]byte, error) {
	return g.stage.fetch(ctx, gatewayAddress, "/metrics")
}

// configuration is the gateway's file.
var configuration = template.Must(template.New("culvert.yaml").Parse(`gateway: {id: bench}
interfaces:
  - {name: {{.Interface}}, mode: {{.Mode}}}
listeners:
  - {name: bench, port: {{.Port}}, precision: ns}
workers: {cpus: "{{.CPUs}}", wait: {{.Wait}}}
{{- if .Rules}}
rules: {files: [{{.Rules}}]}
notifiers:
  - {name: journal, type: log}
{{- if .Alerts}}
  - {name: plc, type: udp, address: "{{.Alerts}}", via: xdp, limit: 0}
{{- end}}
{{- end}}
sinks:
  - name: main
    type: influxdb
    urls: [{{.URL}}]
    database: {{.Database}}
{{- if .Connections}}
    connections: {{.Connections}}
{{- end}}
{{- if .Batch}}
    batch: {{.Batch}}
{{- end}}
{{- if .Spool}}
spool: {dir: {{.Spool}}}
{{- end}}
http: {listen: "{{.Listen}}"}
`))
