package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// influxAddress is where InfluxDB listens, in the gateway's namespace.
const influxAddress = "127.0.0.1:8086"

// InfluxConfig says how an InfluxDB runs.
type InfluxConfig struct {
	// Folder gets its files, data included.
	Folder string
	// Database is made as soon as it answers.
	Database string
	// Place (optional) is where it runs.
	Place Place
	// UDP (optional) is the port of its own listener for Line Protocol; 0: none.
	UDP int
}

// Influx is an influxd 1.x of our own, with all its files in one folder and all its ports in the gateway's
// namespace.
type Influx struct {
	child  *Child
	client *http.Client

	database string
}

// OpenInflux starts an InfluxDB. It is returned even if it does not answer, so that it is ended.
func OpenInflux(ctx context.Context, lab *Lab, c InfluxConfig) (*Influx, error) {
	config := filepath.Join(c.Folder, "influxdb.conf")
	text := fmt.Sprintf(influxText, c.Folder, c.Folder, c.Folder, influxAddress)
	if c.UDP != 0 {
		text += fmt.Sprintf(influxUDPText, GatewayAddr, c.UDP, c.Database)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("write the database's configuration: %w", err)
	}
	log := filepath.Join(c.Folder, "influxd.log")
	child, err := StartChildAt(lab.Gateway, c.Place, log, "influxd", "run", "-config", config)
	if err != nil {
		return nil, err
	}
	db := &Influx{child: child, client: lab.Client(), database: c.Database}
	return db, Await(ctx, "influxd", child, func() error { return db.create(ctx) })
}

// Name says what it is, for people.
func (db *Influx) Name() string { return "InfluxDB 1.x" }

// URL is what a gateway's sink is given.
func (db *Influx) URL() string { return "http://" + influxAddress }

// Child is its process.
func (db *Influx) Child() *Child { return db.child }

// Close ends it.
func (db *Influx) Close() error { return db.child.Stop() }

func (db *Influx) create(ctx context.Context) error {
	return db.tell(ctx, "create database", "CREATE DATABASE "+db.database)
}

// Empty throws away all that is stored.
func (db *Influx) Empty(ctx context.Context) error {
	if err := db.tell(ctx, "drop database", "DROP DATABASE "+db.database); err != nil {
		return err
	}
	return db.create(ctx)
}

// tell sends a command, which is called so in errors.
func (db *Influx) tell(ctx context.Context, what, command string) error {
	form := url.Values{"q": {command}}
	body := strings.NewReader(form.Encode())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, db.URL()+"/query", body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := db.client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, response.Status)
	}
	return nil
}

// Count asks for the number of values of each field. A point has at least one field, and the load generator's
// points have one in common, so the greatest number of a measurement is that of its points.
func (db *Influx) Count(ctx context.Context) (uint64, error) {
	query := url.Values{"db": {db.database}, "q": {"SELECT count(*) FROM /.*/"}}
	body, err := Fetch(ctx, db.client, db.URL()+"/query?"+query.Encode())
	if err != nil {
		return 0, err
	}
	return countPoints(body)
}

// countPoints reads InfluxDB's answer to a query for counts.
func countPoints(body []byte) (uint64, error) {
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("read the database's answer: %w", err)
	}
	var points float64
	for _, result := range answer.Results {
		if result.Error != "" {
			return 0, fmt.Errorf("query the database: %s", result.Error)
		}
		for _, series := range result.Series {
			most := 0.0
			for _, row := range series.Values {
				for i, value := range row {
					count, ok := value.(float64)
					if ok && i < len(series.Columns) && strings.HasPrefix(series.Columns[i], "count") {
						most = math.Max(most, count)
					}
				}
			}
			points += most
		}
	}
	return uint64(points), nil
}

// influxText takes the folder three times and the address. Monitoring is off, or the database would hold
// points of its own.
const influxText = `reporting-disabled = true
bind-address = "127.0.0.1:8088"
[meta]
  dir = "%s/influx/meta"
[data]
  dir = "%s/influx/data"
  wal-dir = "%s/influx/wal"
  trace-logging-enabled = false
[monitor]
  store-enabled = false
[retention]
  enabled = false
[continuous_queries]
  enabled = false
[subscriber]
  enabled = false
[http]
  bind-address = "%s"
  log-enabled = false
  max-body-size = 0
[logging]
  level = "warn"
`

// influxUDPText takes address, port and database. The sizes are those that InfluxDB's documentation gives for
// much traffic: large batches, and as much of the socket's buffer as the system allows.
const influxUDPText = `[[udp]]
  enabled = true
  bind-address = "%s:%d"
  database = "%s"
  precision = "n"
  batch-size = 5000
  batch-pending = 50
  batch-timeout = "1s"
  read-buffer = 33554432
`
