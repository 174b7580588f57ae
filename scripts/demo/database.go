package main

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

const databaseAddress = "127.0.0.1:8086" // in the gateway's namespace

// Database is where the gateway writes to: InfluxDB, or its stand-in.
type Database interface {
	// Name says what it is, for people.
	Name() string
	// URL is what the gateway's sink is given.
	URL() string
	// Count finds out how many points it holds.
	Count(ctx context.Context) (uint64, error)
	// Close ends it.
	Close() error
}

// OpenDatabase starts a private InfluxDB, or `culvert sink` where there is none.
func OpenDatabase(ctx context.Context, lab *Lab, folder, culvert string) (Database, error) {
	if installed("influxd") {
		return openInflux(ctx, lab, folder)
	}
	fmt.Println("influxd is not here and could not be installed: using `culvert sink`, which only counts")
	return openSink(ctx, lab, folder, culvert)
}

// influx is an influxd 1.x with all its files in the demo's folder and all its ports in the gateway's
// namespace.
type influx struct {
	child  *Child
	client *http.Client
}

func openInflux(ctx context.Context, lab *Lab, folder string) (Database, error) {
	config := filepath.Join(folder, "influxdb.conf")
	text := fmt.Sprintf(influxText, folder, folder, folder, databaseAddress)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("write the database's configuration: %w", err)
	}
	log := filepath.Join(folder, "influxd.log")
	child, err := StartChild(lab.Gateway, log, "influxd", "run", "-config", config)
	if err != nil {
		return nil, err
	}
	db := &influx{child: child, client: lab.Client()}
	// The database is returned even if it does not answer, so that it is ended.
	return db, await(ctx, "influxd", child, func() error { return db.create(ctx) })
}

func (db *influx) Name() string { return "InfluxDB 1.x" }
func (db *influx) URL() string  { return "http://" + databaseAddress }
func (db *influx) Close() error { return db.child.Stop() }

func (db *influx) create(ctx context.Context) error {
	form := url.Values{"q": {"CREATE DATABASE " + databaseName}}
	body := strings.NewReader(form.Encode())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, db.URL()+"/query", body)
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := db.client.Do(request)
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("create database: %s", response.Status)
	}
	return nil
}

// Count asks for the number of values of each field. A point has at least one field, and the load generator's
// points have one in common, so the greatest number of a measurement is that of its points.
func (db *influx) Count(ctx context.Context) (uint64, error) {
	query := url.Values{"db": {databaseName}, "q": {"SELECT count(*) FROM /.*/"}}
	body, err := fetch(ctx, db.client, db.URL()+"/query?"+query.Encode())
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

// sink is `culvert sink`.
type sink struct {
	child  *Child
	client *http.Client
}

func openSink(ctx context.Context, lab *Lab, folder, culvert string) (Database, error) {
	log := filepath.Join(folder, "sink.log")
	child, err := StartChild(lab.Gateway, log, culvert, "sink", "--listen", databaseAddress)
	if err != nil {
		return nil, err
	}
	s := &sink{child: child, client: lab.Client()}
	return s, await(ctx, "culvert sink", child, func() error {
		_, err := s.Count(ctx)
		return err
	})
}

func (s *sink) Name() string { return "culvert sink" }
func (s *sink) URL() string  { return "http://" + databaseAddress }
func (s *sink) Close() error { return s.child.Stop() }

func (s *sink) Count(ctx context.Context) (uint64, error) {
	body, err := fetch(ctx, s.client, s.URL()+"/stats")
	if err != nil {
		return 0, err
	}
	var stats struct {
		Points uint64 `json:"points"`
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return 0, fmt.Errorf("read the sink's figures: %w", err)
	}
	return stats.Points, nil
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
