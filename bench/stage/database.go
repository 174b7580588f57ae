package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"culvert/bench/yardstick"
	"culvert/scripts/lab"
)

// Influx is a real InfluxDB as a sink.
type Influx struct {
	*lab.Influx
	folder string
}

// OpenInflux starts an InfluxDB that may use these CPUs. Its files lie in memory, or in a folder of this
// machine's disk.
func (s *Stage) OpenInflux(ctx context.Context, cpus string, onDisk bool) (*Influx, error) {
	folder, err := s.folder("influxdb")
	if err == nil && onDisk {
		// /var/tmp is on disk wherever /tmp may be in memory.
		folder, err = os.MkdirTemp("/var/tmp", "culvert-bench-")
	}
	if err != nil {
		return nil, fmt.Errorf("make a folder for InfluxDB: %w", err)
	}
	db, err := lab.OpenInflux(ctx, s.lab, lab.InfluxConfig{Folder: folder, Database: Database,
		Place: place(cpus)})
	if db == nil {
		os.RemoveAll(folder)
		return nil, err
	}
	return &Influx{db, folder}, err
}

// Close ends it and removes its files.
func (i *Influx) Close() error {
	err := i.Influx.Close()
	if removed := os.RemoveAll(i.folder); err == nil {
		err = removed
	}
	return err
}

// Yardstick has a bare batching HTTP client write into a database for a while, on all CPUs of the benchmark,
// and returns what was acknowledged.
func (s *Stage) Yardstick(ctx context.Context, db *Influx, connections, series int, d time.Duration) (
	yardstick.Result, error) {
	child, err := s.run(s.Places.All(), "client", s.Self, "client", "-url", db.URL(), "-database", Database,
		"-connections", strconv.Itoa(connections), "-series", strconv.Itoa(series), "-duration", d.String())
	if err != nil {
		return yardstick.Result{}, err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		child.Stop()
		return yardstick.Result{}, ctx.Err()
	}
	text, err := os.ReadFile(child.Log())
	if err != nil {
		return yardstick.Result{}, fmt.Errorf("read the client's result: %w", err)
	}
	var result yardstick.Result
	if err := json.Unmarshal(text, &result); err != nil {
		return result, fmt.Errorf("write by a bare client: %w\n%s", err, child.LastWords())
	}
	return result, nil
}

// DiskName is where OpenInflux puts a database's files on disk: the file system's mount point and kind.
func DiskName() string {
	out, err := lab.Output("findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target",
		filepath.Clean("/var/tmp"))
	if err != nil {
		return "unknown"
	}
	return firstLine(out)
}
