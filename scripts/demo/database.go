package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"

	"culvert/scripts/lab"
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
func OpenDatabase(ctx context.Context, l *lab.Lab, folder, culvert string) (Database, error) {
	if lab.Installed("influxd") {
		return lab.OpenInflux(ctx, l, lab.InfluxConfig{Folder: folder, Database: databaseName})
	}
	fmt.Println("influxd is not here and could not be installed: using `culvert sink`, which only counts")
	return openSink(ctx, l, folder, culvert)
}

// sink is `culvert sink`.
type sink struct {
	child  *lab.Child
	client *http.Client
}

func openSink(ctx context.Context, l *lab.Lab, folder, culvert string) (Database, error) {
	log := filepath.Join(folder, "sink.log")
	child, err := lab.StartChild(l.Gateway, log, culvert, "sink", "--listen", databaseAddress)
	if err != nil {
		return nil, err
	}
	s := &sink{child: child, client: l.Client()}
	return s, lab.Await(ctx, "culvert sink", child, func() error {
		_, err := s.Count(ctx)
		return err
	})
}

func (s *sink) Name() string { return "culvert sink" }
func (s *sink) URL() string  { return "http://" + databaseAddress }
func (s *sink) Close() error { return s.child.Stop() }

func (s *sink) Count(ctx context.Context) (uint64, error) {
	body, err := lab.Fetch(ctx, s.client, s.URL()+"/stats")
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
