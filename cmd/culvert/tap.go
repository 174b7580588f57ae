package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"culvert/controlplane/telemetry"
)

// tapLine bounds a point with its rules.
const tapLine = 4 << 20

func newTapCommand() *cobra.Command {
	var url, match string
	var most int
	var raw bool
	command := &cobra.Command{
		Use:   "tap [--match EXPR] [-n N]",
		Short: "Show points as they pass, sampled, with listener, source and the rules they met",
		Long: "Show points as they pass, with listener, source and the rules they met: those whose\n" +
			"condition holds with +, those whose condition does not with -, those that look at the past\n" +
			"with ~. It is a sample: a busy worker shows some of its packets. EXPR is a condition on one\n" +
			"point, as in rules:\n" +
			"culvert tap --match 'temperature > 95 && tags.line == \"a\"'",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			explain := sync.OnceFunc(func() {
				fmt.Fprintln(command.ErrOrStderr(), "rules: + holds, - does not hold, ~ looks at the past")
			})
			show := func(text []byte) error {
				explain()
				return showTapped(command.OutOrStdout(), text)
			}
			if raw {
				show = func(text []byte) error {
					_, err := fmt.Fprintf(command.OutOrStdout(), "%s\n", text)
					return err
				}
			}
			err := tap(ctx, url, match, most, show)
			if ctx.Err() != nil {
				return nil // it was ended by who watches
			}
			return err
		},
	}
	addURLFlag(command, &url)
	command.Flags().StringVar(&match, "match", "", "show only points for which this expression is true")
	command.Flags().IntVarP(&most, "number", "n", 0, "end after so many points; 0: no end")
	command.Flags().BoolVar(&raw, "json", false, "one JSON document a line")
	return command
}

// tap asks the gateway and shows each point as it comes.
func tap(ctx context.Context, url, match string, most int, show func(text []byte) error) error {
	address := strings.TrimSuffix(url, "/") + "/api/v1/tap?match=" + neturl.QueryEscape(match)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return exit(exitUsage, fmt.Errorf("read --url: %w", err))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the gateway at %s: %w; is one running there? (--url names another address)",
			url, err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, tapLine)
	if response.StatusCode != http.StatusOK {
		var answer struct{ Error string }
		if json.NewDecoder(response.Body).Decode(&answer) != nil || answer.Error == "" {
			answer.Error = "it answers " + response.Status
		}
		return fmt.Errorf("tap the gateway at %s: %s", url, answer.Error)
	}
	for n := 0; lines.Scan(); {
		text, is := strings.CutPrefix(lines.Text(), "data: ")
		if !is {
			continue
		}
		if err := show([]byte(text)); err != nil {
			return fmt.Errorf("show a point: %w", err)
		}
		if n++; n == most {
			return nil
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read points: %w", err)
	}
	return fmt.Errorf("read points: the gateway at %s has ended: %w", url, io.ErrUnexpectedEOF)
}

// showTapped writes a point as two lines for a person: what passed, and whence it came and what it met.
func showTapped(out io.Writer, text []byte) error {
	var p telemetry.TappedPoint
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	marks := map[string]string{"yes": "+", "no": "-", "past": "~"}
	met := make([]string, 0, len(p.Rules))
	for _, r := range p.Rules {
		name := r.Name
		if name == "" {
			name = r.Kind // a filter
		}
		met = append(met, marks[r.Holds]+name)
	}
	what := "rules: none"
	switch {
	case p.Rejected != "":
		what = "REJECTED: " + p.Rejected
	case len(met) > 0:
		what = "rules: " + strings.Join(met, " ")
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s  worker %s  %s\n    %s\n", p.Taken.Format("15:04:05.000000"),
		p.Listener, p.Source, p.Worker, telemetry.Printable(what), telemetry.Printable(p.Line))
	return err
}
