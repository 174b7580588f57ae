package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"culvert/controlplane/telemetry"
)

// askTime bounds a question to a running gateway.
const askTime = 10 * time.Second

func newStatusCommand() *cobra.Command {
	var url string
	var raw bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Show the running gateway: ledger, workers, sinks, alerts",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			s, err := askStatus(url)
			if err != nil {
				return err
			}
			if raw {
				encoder := json.NewEncoder(command.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(s)
			}
			telemetry.Render(command.OutOrStdout(), s)
			return nil
		},
	}
	addURLFlag(command, &url)
	command.Flags().BoolVar(&raw, "json", false, "the document of /api/v1/status")
	return command
}

// addURLFlag names the gateway that a command asks.
func addURLFlag(command *cobra.Command, url *string) {
	command.Flags().StringVar(url, "url", "http://127.0.0.1:9490", "address of the gateway's HTTP interface")
}

func askStatus(url string) (*telemetry.Status, error) {
	s := new(telemetry.Status)
	if err := ask(url, "/api/v1/status", s); err != nil {
		return nil, err
	}
	return s, nil
}

// ask gets a JSON document from a gateway.
func ask(url, path string, document any) error {
	client := http.Client{Timeout: askTime}
	response, err := client.Get(strings.TrimSuffix(url, "/") + path)
	if err != nil {
		return fmt.Errorf("ask the gateway at %s: %w; is one running there? (--url names another address)",
			url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the gateway at %s: it answers %s", url, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(document); err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return nil
}
