package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"culvert/controlplane/gateway"
	"culvert/controlplane/telemetry"
)

// reloadTime bounds a reload: receivers that a reload takes away have some seconds for their last alerts.
const reloadTime = time.Minute

func newReloadCommand() *cobra.Command {
	var url, tokenFile string
	var raw bool
	command := &cobra.Command{
		Use:   "reload",
		Short: "Let the running gateway read its rules, notifiers, URLs and probes anew",
		Long: "Let the running gateway read its configuration anew. Rules, notifiers, URLs of sinks and\n" +
			"probes are applied without losing a point, and rules that stay as they are keep their\n" +
			"state; all else that changed is named, and waits for a restart. If anything is wrong,\n" +
			"nothing is changed. SIGHUP does the same.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			report, err := askReload(url, tokenFile, command.ErrOrStderr())
			if err != nil {
				return err
			}
			if raw {
				encoder := json.NewEncoder(command.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(report)
			}
			report.Render(command.OutOrStdout())
			return nil
		},
	}
	command.Flags().StringVar(&url, "url", "http://127.0.0.1:9490", "address of the gateway's HTTP interface")
	command.Flags().StringVar(&tokenFile, "token-file", "", "file with the token of the gateway's "+
		"http.token_file")
	command.Flags().BoolVar(&raw, "json", false, "the document of /api/v1/reload")
	return command
}

// askReload posts the reload. What is wrong in the files goes to w with its lines.
func askReload(url, tokenFile string, w io.Writer) (*telemetry.Reload, error) {
	request, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(url, "/")+"/api/v1/reload", nil)
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("read --url: %w", err))
	}
	if tokenFile != "" {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	client := http.Client{Timeout: reloadTime}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway at %s: %w; is one running there? (--url names another "+
			"address)", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		var report telemetry.Reload
		if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", url, err)
		}
		return &report, nil
	}
	var answer struct {
		Error    string
		Mistakes []string
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Error == "" {
		return nil, fmt.Errorf("reload the gateway at %s: it answers %s", url, response.Status)
	}
	for _, mistake := range answer.Mistakes {
		fmt.Fprintln(w, mistake)
	}
	err = fmt.Errorf("reload the gateway at %s: %s", url, answer.Error)
	if response.StatusCode == http.StatusUnprocessableEntity {
		return nil, exit(exitConfig, err)
	}
	return nil, err
}

// followHangUps reloads at each SIGHUP until the context ends. What is wrong goes to the log.
func followHangUps(ctx context.Context, g *gateway.Gateway, hangUps <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUps:
		}
		_, err := reload(g)
		var refused *telemetry.Refused
		if errors.As(err, &refused) {
			for _, mistake := range refused.Mistakes {
				log.Error("reload", "mistake", mistake)
			}
		}
		if err != nil {
			log.Error("SIGHUP changes nothing", "error", err)
		}
	}
}

// reload reloads and keeps systemd informed, where it started the gateway.
func reload(g *gateway.Gateway) (*telemetry.Reload, error) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	report, err := g.Reload()
	status := ""
	if err != nil {
		// `systemctl reload` only sends the signal; this is what `systemctl status` shows.
		status = "the last reload changed nothing: " + oneLine(err)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+status)
	return report, err
}
