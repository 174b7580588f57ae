package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"culvert/controlplane/telemetry"
)

const (
	// followInterval is how often a gateway is asked for more.
	followInterval = time.Second
	// rejectsWritten is the file that --write appends to.
	rejectsWritten = "rejects.jsonl"
)

func newRejectsCommand() *cobra.Command {
	var url, dir string
	var follow, raw bool
	command := &cobra.Command{
		Use:   "rejects",
		Short: "Show rejected packets, lines and points with source and reason",
		Long: "Show what the running gateway rejected last: packets, lines that it could not read, and\n" +
			"points that a database refused, with the database's words. `rejects.keep` says how many it\n" +
			"remembers; of packets and lines it samples one a second for each reason.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write, out := printReject, command.OutOrStdout()
			if raw || dir != "" {
				write = encodeReject
			}
			if dir != "" {
				file, err := openRejects(dir)
				if err != nil {
					return err
				}
				defer file.Close()
				out = file
			}
			var seen time.Time
			for {
				rejects, err := askRejects(url)
				if err != nil {
					return err
				}
				// The newest comes first.
				for i := len(rejects) - 1; i >= 0; i-- {
					if !rejects[i].Taken.After(seen) {
						continue
					}
					if err := write(out, &rejects[i]); err != nil {
						return fmt.Errorf("write a reject: %w", err)
					}
				}
				if len(rejects) > 0 {
					seen = rejects[0].Taken
				}
				if !follow {
					if len(rejects) == 0 && !raw && dir == "" {
						fmt.Fprintln(command.ErrOrStderr(), "nothing was rejected")
					}
					return nil
				}
				select {
				case <-command.Context().Done():
					return nil
				case <-time.After(followInterval):
				}
			}
		},
	}
	addURLFlag(command, &url)
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	command.Flags().BoolVar(&raw, "json", false, "one JSON object a line")
	command.Flags().StringVar(&dir, "write", "", "append to a file of JSON lines in this folder instead")
	return command
}

func openRejects(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of rejects: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, rejectsWritten), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the file of rejects: %w", err)
	}
	return file, nil
}

func askRejects(url string) ([]telemetry.Reject, error) {
	var answer struct {
		Rejects []telemetry.Reject `json:"rejects"`
	}
	err := ask(url, "/api/v1/rejects", &answer)
	return answer.Rejects, err
}

func encodeReject(out io.Writer, r *telemetry.Reject) error { return json.NewEncoder(out).Encode(r) }

// printReject writes one line: when, where, why, from whom, and what it was.
func printReject(out io.Writer, r *telemetry.Reject) error {
	from := r.Source
	if r.Sink != "" {
		from = r.Sink + " " + r.URL
	}
	_, err := fmt.Fprintf(out, "%s  %s/%s  %s", r.Taken.Format("15:04:05.000"), r.Stage, r.Reason, from)
	add := func(format string, value any) {
		if err == nil {
			_, err = fmt.Fprintf(out, format, value)
		}
	}
	if r.Column > 0 {
		add("  column %d", r.Column)
	}
	if r.Words != "" {
		add("  %s", r.Words)
	}
	if r.Text != "" {
		add("  %q", r.Text)
	}
	if r.TraceID != "" {
		add("  trace %s", r.TraceID)
	}
	add("%s", "\n")
	return err
}
