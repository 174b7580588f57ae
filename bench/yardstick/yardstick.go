// Package yardstick is a bare batching HTTP client for InfluxDB's write API: what a program reaches that has
// nothing else to do. It has its points ready and only gives each a timestamp of its own.
package yardstick

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// batchPoints is the gateway's batch.points.
	batchPoints = 10_000
	// stampDigits is the length of a timestamp in nanoseconds, from 2001 to 2286.
	stampDigits = 19
)

// Config says what is written where.
type Config struct {
	URL         string // http://host:port
	Database    string
	Connections int
	Series      int
	Duration    time.Duration
}

// Result is what the database has acknowledged.
type Result struct {
	Points  uint64  `json:"points"`
	Seconds float64 `json:"seconds"`
}

// Run writes for the duration, one request at a time on each connection.
func Run(ctx context.Context, c Config) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: c.Connections, MaxConnsPerHost: c.Connections}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	defer transport.CloseIdleConnections()
	var points atomic.Uint64
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	errs := make([]error, c.Connections)
	var all sync.WaitGroup
	begun := time.Now()
	for i := range c.Connections {
		all.Go(func() { errs[i] = c.write(ctx, client, &clock, &points) })
	}
	all.Wait()
	result := Result{Points: points.Load(), Seconds: time.Since(begun).Seconds()}
	for _, err := range errs {
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

func (c *Config) write(ctx context.Context, client *http.Client, clock *atomic.Int64,
	points *atomic.Uint64) error {
	body, stamps := c.body()
	target := fmt.Sprintf("%s/write?db=%s&precision=ns", c.URL, c.Database)
	for ctx.Err() == nil {
		// No two points of any connection share a timestamp, so that none replaces another.
		last := clock.Add(batchPoints)
		for i, at := range stamps {
			putStamp(body[at:at+stampDigits], last-batchPoints+int64(i))
		}
		response, err := client.Post(target, "text/plain", bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("write a batch: %w", err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusNoContent {
			return fmt.Errorf("write a batch: %s: %.200s", response.Status, text)
		}
		points.Add(batchPoints)
	}
	return nil
}

// body is a batch, and where its timestamps stand.
func (c *Config) body() (body []byte, stamps []int) {
	for i := range batchPoints {
		series := i % c.Series
		body = fmt.Appendf(body, "plant,line=l%02d,sensor=s%03d temperature=%d.45,pressure=123.%03d,rpm=%di ",
			series%100, series, 20+i%70, i%1000, 1000+i%9000)
		stamps = append(stamps, len(body))
		body = append(body, "0000000000000000000\n"...)
	}
	return body, stamps
}

// putStamp writes a number with leading zeros into all of the place.
func putStamp(place []byte, n int64) {
	for i := len(place) - 1; i >= 0; i-- {
		place[i] = byte('0' + n%10)
		n /= 10
	}
}
