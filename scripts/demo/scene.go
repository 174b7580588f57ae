package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"culvert/controlplane/telemetry"
)

const (
	// startLimit is how long each program may take until it answers.
	startLimit = 30 * time.Second
	// quietLimit is how long the gateway may take to write what it holds once nothing more is sent.
	quietLimit = 30 * time.Second

	gatewayAddress = "127.0.0.1:9490" // in the gateway's namespace
	telemetryPort  = 8089
	databaseName   = "telemetry"
)

// Scene is everything that the demo starts: lab, database, gateway, and a folder for their files.
type Scene struct {
	Parameters Parameters
	Database   Database

	claim   *Claim
	folder  string
	lab     *Lab
	gateway *Child
	client  *http.Client
}

// Open sets the scene up to the point where the gateway is ready. Close must be called even if it fails.
func (s *Scene) Open(ctx context.Context) error {
	if err := s.claimLab(); err != nil {
		return err
	}
	var err error
	if s.lab, err = OpenLab(s.Parameters.Queues); err != nil {
		return err
	}
	s.client = s.lab.Client()
	if s.Database, err = OpenDatabase(ctx, s.lab, s.folder, s.Parameters.Culvert); err != nil {
		return err
	}
	fmt.Printf("database: %s, files in %s\n", s.Database.Name(), s.folder)
	return s.startGateway(ctx)
}

// claimLab makes sure that no other demo runs, cleans up after one that died, and makes the folder of this
// one.
func (s *Scene) claimLab() error {
	claim, left, err := OpenClaim(claimFile)
	if err != nil {
		return err
	}
	s.claim = claim
	if left != "" {
		fmt.Println("a demo died here before: cleaning up after it")
		if err := closeLab(); err != nil {
			return err
		}
		if err := os.RemoveAll(left); err != nil {
			return fmt.Errorf("remove the folder of the demo that died: %w", err)
		}
	}
	if s.folder, err = makeFolder(); err != nil {
		return err
	}
	return claim.Note(s.folder)
}

// makeFolder makes the folder for configuration, logs and the database, in memory where the system has such a
// place.
func makeFolder() (string, error) {
	parent := "/dev/shm"
	if stat, err := os.Stat(parent); err != nil || !stat.IsDir() {
		parent = os.TempDir()
	}
	folder, err := os.MkdirTemp(parent, "culvert-demo-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the demo: %w", err)
	}
	return folder, nil
}

func (s *Scene) startGateway(ctx context.Context) error {
	config := filepath.Join(s.folder, "culvert.yaml")
	files := map[string]string{
		config:                                configuration(s.Database.URL()),
		filepath.Join(s.folder, "rules.yaml"): rulesText,
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	var err error
	log := filepath.Join(s.folder, "culvert.log")
	s.gateway, err = StartChild(s.lab.Gateway, log, s.Parameters.Culvert, "run", "-c", config)
	if err != nil {
		return err
	}
	return await(ctx, "gateway", s.gateway, func() error {
		_, err := s.get(ctx, "/health/ready")
		return err
	})
}

// StartSender starts the load generator in the sender's namespace.
func (s *Scene) StartSender() (*Sender, error) {
	return StartSender(s.lab.Sender, s.folder, s.Parameters)
}

// Status asks the gateway for its state.
func (s *Scene) Status(ctx context.Context) (*telemetry.Status, error) {
	body, err := s.get(ctx, "/api/v1/status")
	if err != nil {
		return nil, err
	}
	status := new(telemetry.Status)
	if err := json.Unmarshal(body, status); err != nil {
		return nil, fmt.Errorf("read the gateway's status: %w", err)
	}
	return status, nil
}

func (s *Scene) get(ctx context.Context, path string) ([]byte, error) {
	return fetch(ctx, s.client, "http://"+gatewayAddress+path)
}

// fetch gets a document; an answer that is not 200 is an error with its text.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("ask %s: %s: %.200s", url, response.Status, body)
	}
	return body, nil
}

// WaitQuiet waits until the gateway has received all that was sent and holds none of it any more.
func (s *Scene) WaitQuiet(ctx context.Context) (*telemetry.Status, error) {
	deadline := time.Now().Add(quietLimit)
	var before uint64
	for {
		status, err := s.Status(ctx)
		if err != nil {
			return nil, err
		}
		quiet := status.Ledger.InFlight == 0 && status.Packets.Received == before
		if quiet || time.Now().After(deadline) {
			return status, nil
		}
		before = status.Packets.Received
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// await polls until a program answers, or says with its last words why it does not.
func await(ctx context.Context, name string, child *Child, ready func() error) error {
	deadline := time.Now().Add(startLimit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if child.Exited() {
			return fmt.Errorf("start %s: it ended: %w\n%s", name, child.err, child.LastWords())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start %s: no answer within %s: %w\n%s",
				name, startLimit, err, child.LastWords())
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-time.After(d):
		return nil
	}
}

// Close takes down what Open set up, the last first. It may be called at any time and more than once.
func (s *Scene) Close() error {
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.gateway.Stop())
	}
	if s.Database != nil {
		errs = append(errs, s.Database.Close())
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	if s.claim != nil && errors.Join(errs...) == nil {
		errs = append(errs, s.claim.Close())
	}
	return errors.Join(errs...)
}

// installed tells whether a program is there.
func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// configuration is the gateway's, for a database at this URL.
func configuration(url string) string {
	return fmt.Sprintf(configurationText, gatewayInterface, telemetryPort, url, databaseName, gatewayAddress)
}

const configurationText = `gateway: {id: demo}
interfaces:
  - {name: %s, mode: auto}
listeners:
  - {name: demo, port: %d, precision: ns}
rules:
  files: [rules.yaml]
notifiers:
  - {name: journal, type: log}
sinks:
  - name: main
    type: influxdb
    urls: [%s]
    database: %s
http:
  listen: %s
`

const rulesText = `groups:
  - name: demo
    rules:
      - alert: Overheated
        on: "*"
        expr: temperature > 95.0
        labels: {severity: warning}
        annotations: {summary: "{{ temperature }} °C"}
        actions: [journal]
`
