package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"culvert/bench/metrics"
	"culvert/scripts/lab"
)

// peer is somebody else's program as a receiver.
type peer struct {
	name  string
	child *lab.Child
	count func(ctx context.Context) (Count, error)
	// empty is nil for one that keeps nothing.
	empty func(ctx context.Context) error
	// belongings end after it, in this order.
	belongings []func() error
}

func (p *peer) Name() string                             { return p.name }
func (p *peer) Main() *lab.Child                         { return p.child }
func (p *peer) Count(ctx context.Context) (Count, error) { return p.count(ctx) }

func (p *peer) Empty(ctx context.Context) error {
	if p.empty == nil {
		return nil
	}
	return p.empty(ctx)
}

func (p *peer) Close() error {
	var errs []error
	if p.child != nil {
		errs = append(errs, p.child.Stop())
		p.child = nil
	}
	for _, end := range p.belongings {
		errs = append(errs, end())
	}
	p.belongings = nil
	return errors.Join(errs...)
}

// folder makes a folder for a peer's files.
func (s *Stage) folder(name string) (string, error) {
	path, err := os.MkdirTemp(s.Folder, name+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", name, err)
	}
	return path, nil
}

// Ways to use Telegraf.
const (
	TelegrafDiscard  = "discard"  // socket_listener → discard
	TelegrafRule     = "rule"     // socket_listener → one starlark rule → discard
	TelegrafInfluxDB = "influxdb" // socket_listener → InfluxDB
)

// telegrafText takes address and port. The batches are large, and the buffer holds seconds of any load, so
// that Telegraf is held down by its own work alone.
const telegrafText = `[agent]
  interval = "10s"
  flush_interval = "1s"
  metric_batch_size = 20000
  metric_buffer_limit = 4000000
  omit_hostname = true
  skip_processors_after_aggregators = true
[[inputs.socket_listener]]
  service_address = "udp://%s:%d"
  read_buffer_size = "32MiB"
  data_format = "influx"
  influx_parser_type = "upstream"
`

const telegrafRule = `[[processors.starlark]]
  source = '''
def apply(metric):
    if metric.fields.get("temperature", 0.0) > 95.0:
        metric.tags["alert"] = "overheated"
    return metric
'''
`

// OpenTelegraf starts the Telegraf that `make bench-peers` builds, on the workers' CPUs. A URL is needed for
// the way into InfluxDB.
func (s *Stage) OpenTelegraf(ctx context.Context, program, way, url string) (Receiver, error) {
	text := fmt.Sprintf(telegrafText, lab.GatewayAddr, Port)
	name := "Telegraf → discard"
	switch way {
	case TelegrafRule:
		name = "Telegraf → starlark rule → discard"
		text += telegrafRule + "[[outputs.discard]]\n"
	case TelegrafInfluxDB:
		name = "Telegraf → InfluxDB"
		text += fmt.Sprintf("[[outputs.influxdb]]\n  urls = [%q]\n  database = %q\n"+
			"  skip_database_creation = true\n", url, Database)
	default:
		text += "[[outputs.discard]]\n"
	}
	folder, err := s.folder("telegraf")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "telegraf.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("write Telegraf's configuration: %w", err)
	}
	cpus := s.Places.WorkerList()
	if way == TelegrafInfluxDB {
		// The way into a database has all CPUs, whoever takes it.
		cpus = s.Places.All()
	}
	child, err := s.run(cpus, "telegraf", program, "-config", file, "-stats", peerAddress)
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, child: child, count: s.countTelegraf}
	return p, lab.Await(ctx, "Telegraf", child, func() error {
		_, err := p.Count(ctx)
		return err
	})
}

func (s *Stage) countTelegraf(ctx context.Context) (Count, error) {
	body, err := s.fetch(ctx, peerAddress, "/stats")
	if err != nil {
		return Count{}, err
	}
	var stats struct{ Gathered, Written, Dropped uint64 }
	if err := json.Unmarshal(body, &stats); err != nil {
		return Count{}, fmt.Errorf("read Telegraf's figures: %w", err)
	}
	waiting := stats.Gathered - min(stats.Written+stats.Dropped, stats.Gathered)
	return Count{Points: stats.Written, Waiting: waiting}, nil
}

// OpenVmagent starts vmagent with a sink that takes everything on the sender's CPU.
func (s *Stage) OpenVmagent(ctx context.Context, program string) (_ Receiver, err error) {
	sink, err := s.run(s.Places.SenderList(), "discard", s.Self, "discard", "-listen", sinkAddress)
	if err != nil {
		return nil, err
	}
	p := &peer{name: "vmagent → HTTP sink", belongings: []func() error{sink.Stop}}
	folder, err := s.folder("vmagent")
	if err != nil {
		return p, err
	}
	p.count = s.countVictoria("vmagent_remotewrite_pending_data_bytes")
	p.child, err = s.run(s.Places.WorkerList(), "vmagent", program,
		"-influxListenAddr="+net.JoinHostPort(lab.GatewayAddr, strconv.Itoa(Port)),
		"-httpListenAddr="+peerAddress, "-remoteWrite.url=http://"+sinkAddress+"/api/v1/write",
		"-remoteWrite.tmpDataPath="+folder, "-loggerLevel=WARN")
	if err != nil {
		return p, err
	}
	return p, lab.Await(ctx, "vmagent", p.child, func() error {
		_, err := p.Count(ctx)
		return err
	})
}

// OpenVictoria starts single-node VictoriaMetrics, which stores what it receives.
func (s *Stage) OpenVictoria(ctx context.Context, program string) (Receiver, error) {
	folder, err := s.folder("victoria")
	if err != nil {
		return nil, err
	}
	child, err := s.run(s.Places.WorkerList(), "victoria", program,
		"-influxListenAddr="+net.JoinHostPort(lab.GatewayAddr, strconv.Itoa(Port)),
		"-httpListenAddr="+peerAddress, "-storageDataPath="+folder, "-loggerLevel=WARN")
	if err != nil {
		return nil, err
	}
	p := &peer{name: "VictoriaMetrics (stores)", child: child, count: s.countVictoria("")}
	return p, lab.Await(ctx, "VictoriaMetrics", child, func() error {
		_, err := p.Count(ctx)
		return err
	})
}

// countVictoria counts the lines that a program of VictoriaMetrics' has read. What it still holds back is
// told by another of its metrics, or by none.
func (s *Stage) countVictoria(pending string) func(context.Context) (Count, error) {
	return func(ctx context.Context) (Count, error) {
		body, err := s.fetch(ctx, peerAddress, "/metrics")
		if err != nil {
			return Count{}, err
		}
		samples, err := metrics.Parse(body)
		if err != nil {
			return Count{}, fmt.Errorf("read VictoriaMetrics' figures: %w", err)
		}
		count := Count{
			Points:  uint64(samples.Sum("vm_protoparser_rows_read_total", `type="influx"`)),
			Packets: uint64(samples.Sum("vm_ingestserver_requests_total", `net="udp"`)),
		}
		if pending != "" {
			count.Waiting = uint64(samples.Sum(pending))
		}
		return count, nil
	}
}

// OpenInfluxUDP starts an InfluxDB that listens on UDP itself, on these CPUs, its data in memory. Points are
// those that a query finds.
func (s *Stage) OpenInfluxUDP(ctx context.Context, cpus string) (Receiver, error) {
	folder, err := s.folder("influxdb")
	if err != nil {
		return nil, err
	}
	db, err := lab.OpenInflux(ctx, s.lab, lab.InfluxConfig{
		Folder: folder, Database: Database, Place: place(cpus), UDP: Port,
	})
	if db == nil {
		return nil, err
	}
	return &peer{
		name: "InfluxDB's own UDP listener (stores)", child: db.Child(),
		belongings: []func() error{func() error { return os.RemoveAll(folder) }},
		count: func(ctx context.Context) (Count, error) {
			points, err := db.Count(ctx)
			return Count{Points: points}, err
		},
		empty: db.Empty,
	}, err
}

// PackageVersion is the version of the distribution's package that a program came with; empty if none did.
func PackageVersion(name string) string {
	out, err := lab.Output("dpkg-query", "--show", "--showformat=${Version}", name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}
