package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/lab"
)

const (
	// quietLimit is how long the gateway may take to write what it holds once nothing more is sent.
	quietLimit = 30 * time.Second

	// gatewayAddress is in the gateway's namespace; this host's own leads there.
	gatewayAddress = "127.0.0.1:9490"
	telemetryPort  = 8089
	databaseName   = "telemetry"
)

// Scene is everything that the demo starts: lab, database, gateway, and a folder for their files.
type Scene struct {
	Parameters Parameters
	Database   Database

	claim   *lab.Claim
	folder  string
	lab     *lab.Lab
	gateway *lab.Child
	door    *Door
	client  *http.Client
}

// Open sets the scene up to the point where the gateway is ready. Close must be called even if it fails.
func (s *Scene) Open(ctx context.Context) error {
	if err := s.claimLab(); err != nil {
		return err
	}
	var err error
	if s.lab, err = lab.Open(s.Parameters.Queues); err != nil {
		return err
	}
	s.client = s.lab.Client()
	if s.Database, err = OpenDatabase(ctx, s.lab, s.folder, s.Parameters.Culvert); err != nil {
		return err
	}
	fmt.Printf("database: %s, files in %s\n", s.Database.Name(), s.folder)
	if err := s.startGateway(ctx); err != nil {
		return err
	}
	return s.openDoor()
}

// openDoor makes the gateway's page reachable from outside of the lab, and says where it is.
func (s *Scene) openDoor() error {
	var err error
	s.door, err = OpenDoor(gatewayAddress, func(ctx context.Context) (net.Conn, error) {
		return s.lab.Gateway.Dial(ctx, "tcp", gatewayAddress)
	})
	if err != nil {
		return err
	}
	url, more := s.door.URL(), ""
	if url != "http://"+gatewayAddress {
		more = " --url " + url
	}
	fmt.Printf("dashboard: %s/\nin another terminal: bin/culvert top%s\n", url, more)
	return nil
}

// claimLab makes sure that nobody else uses the lab, cleans up after a run that died, and makes the folder of
// this one.
func (s *Scene) claimLab() error {
	claim, left, err := lab.OpenClaim(lab.ClaimFile)
	if err != nil {
		return err
	}
	s.claim = claim
	if left != "" {
		fmt.Println("a run died here before: cleaning up after it")
		if err := lab.Remove(); err != nil {
			return err
		}
		if err := os.RemoveAll(left); err != nil {
			return fmt.Errorf("remove the folder of the run that died: %w", err)
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
	s.gateway, err = lab.StartChild(s.lab.Gateway, log, s.Parameters.Culvert, "run", "-c", config)
	if err != nil {
		return err
	}
	return lab.Await(ctx, "gateway", s.gateway, func() error {
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
	return lab.Fetch(ctx, s.client, "http://"+gatewayAddress+path)
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
		if err := lab.Pause(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// Close takes down what Open set up, the last first. It may be called at any time and more than once.
func (s *Scene) Close() error {
	var errs []error
	if s.door != nil {
		errs = append(errs, s.door.Close())
		s.door = nil
	}
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

// configuration is the gateway's, for a database at this URL.
func configuration(url string) string {
	return fmt.Sprintf(configurationText, lab.GatewayInterface, telemetryPort, url, databaseName,
		gatewayAddress)
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
