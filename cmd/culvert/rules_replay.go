package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"culvert/controlplane/capture"
	"culvert/controlplane/rulefile"
	"culvert/dataplane/rules"
)

func newRulesEvalCommand() *cobra.Command {
	var line string
	command := &cobra.Command{
		Use:   "eval EXPR --line LINE",
		Short: "Show what an expression comes to on one line of Line Protocol",
		Long: "Show what an expression comes to on one line of Line Protocol, as JSON; null where\n" +
			"something is missing. Functions of the past need more than one point: replay those.",
		Example: "  culvert rules eval 'temperature > 95 && tags.line == \"a\"' \\\n" +
			"    --line 'motor,line=a temperature=96'",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			value, wrong, err := rulefile.Evaluate(arguments[0], line)
			if len(wrong) > 0 {
				return wrongRules(wrong, command.ErrOrStderr())
			}
			if err != nil {
				return exit(exitUsage, err)
			}
			if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				value = fmt.Sprint(f) // JSON has no number for it
			}
			encoder := json.NewEncoder(command.OutOrStdout())
			encoder.SetEscapeHTML(false) // It goes to a terminal, not into a page.
			return encoder.Encode(value)
		},
	}
	command.Flags().StringVar(&line, "line", "", "the line, such as 'motor,line=a temperature=96'")
	_ = command.MarkFlagRequired("line")
	return command
}

func newRulesReplayCommand() *cobra.Command {
	var input string
	var after time.Duration
	var unit string
	command := &cobra.Command{
		Use:   "replay RULES… --input FILE.lp|FILE.pcap|FILE.pcapng",
		Short: "Run rules over recorded points or packets, print what would have fired",
		Long: "Run rules over recorded points (Line Protocol) or packets (pcap, pcapng) and print,\n" +
			"as one JSON object a line, every change of an alert's state and every derived point. Time is\n" +
			"virtual: points arrive at their own time, packets at the time they were recorded. What the\n" +
			"recording held is said at the end, on standard error; one without a point is a failure.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, files []string) error {
			if after < 0 {
				return exit(exitUsage, fmt.Errorf("--after is %v, and time does not go back", after))
			}
			set, err := loadRules(files, command.ErrOrStderr())
			if err != nil {
				return err
			}
			in, err := os.Open(input)
			if err != nil {
				return fmt.Errorf("replay points: %w", err)
			}
			defer in.Close()
			out := bufio.NewWriter(command.OutOrStdout())
			defer out.Flush()
			p := rulefile.NewPlayer(set)
			if !p.SetPrecision(unit) {
				return exit(exitUsage, fmt.Errorf("--precision is %q, want ns, us, ms or s", unit))
			}
			held, points, err := replay(p, in, out, after)
			if err != nil {
				return err
			}
			if points == 0 {
				return fmt.Errorf("replay points: %s holds no point%s", input, whyNone(held))
			}
			fmt.Fprintf(command.ErrOrStderr(), "%s: %s%s\n", input, counted(points, "point"), besides(held))
			return nil
		},
	}
	command.Flags().StringVar(&input, "input", "", "recorded points or packets")
	command.Flags().DurationVar(&after, "after", 0, "how long time goes on after the last point")
	command.Flags().StringVar(&unit, "precision", "ns", "unit of timestamps: ns, us, ms or s")
	_ = command.MarkFlagRequired("input")
	return command
}

// replayed is one line of a replay's output.
type replayed struct {
	Time        time.Time         `json:"time"`
	Alert       string            `json:"alert,omitempty"`
	State       string            `json:"state,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Since       *time.Time        `json:"since,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Values      map[string]any    `json:"values,omitempty"`
	Record      string            `json:"record,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Fields      map[string]any    `json:"fields,omitempty"`
}

// replay plays a recording and writes what the rules say of it. It returns what the recording held.
func replay(p *rulefile.Player, in io.Reader, out *bufio.Writer, after time.Duration) (
	held rulefile.Recording, points int, err error,
) {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	var failed error
	write := func(r replayed) {
		if err := encoder.Encode(r); err != nil && failed == nil {
			failed = fmt.Errorf("write replay: %w", err)
		}
	}
	p.OnAlert = func(a rules.Alert) {
		since := time.Unix(0, a.Since).UTC()
		write(replayed{
			Time: time.Unix(0, a.Time).UTC(), Alert: a.Rule, State: a.State, Reason: a.Reason, Since: &since,
			Labels: a.Labels, Annotations: a.Annotations, Values: a.Values,
		})
	}
	p.OnRecord = func(m rules.Made) {
		write(replayed{Time: time.Unix(0, m.Time).UTC(), Record: m.Record, Tags: m.Tags, Fields: m.Fields})
	}
	reader := bufio.NewReaderSize(in, 64<<10)
	start, err := reader.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return held, 0, fmt.Errorf("replay points: %w", err)
	}
	if by := compression(start); by != "" {
		return held, 0, fmt.Errorf("replay points: the recording is compressed by %s: unpack it first", by)
	}
	if capture.KindOf(start) != "" {
		held, err = p.PlayCapture(reader)
	} else {
		held, err = p.PlayLines(reader)
	}
	if err != nil {
		return held, p.Points, err
	}
	if p.Points > 0 {
		p.Advance(p.Now() + int64(after))
	}
	if err := out.Flush(); err != nil && failed == nil {
		failed = fmt.Errorf("write replay: %w", err)
	}
	return held, p.Points, failed
}

// compression is the program that made a file, by its first bytes, if it is one of those that compress.
func compression(start []byte) string {
	for _, c := range []struct{ magic, name string }{
		{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\xfd7zX", "xz"}, {"BZh", "bzip2"},
	} {
		if strings.HasPrefix(string(start), c.magic) {
			return c.name
		}
	}
	return ""
}

// whyNone says why a recording held no point.
func whyNone(held rulefile.Recording) string {
	switch why := besides(held); {
	case why != "":
		return why
	case !held.Bytes:
		return ": it is empty"
	}
	return ": it is blank"
}

// besides says what a recording held beside its points.
func besides(held rulefile.Recording) string {
	said := ""
	if held.Capture {
		said = " in " + counted(held.Datagrams, "UDP datagram")
	}
	if held.Rejected > 0 {
		said += fmt.Sprintf("; %s rejected, the first is line %d", counted(held.Rejected, "line"),
			held.First.Line)
		if held.Capture {
			said += fmt.Sprintf(" of datagram %d", held.FirstIn)
		}
		said += fmt.Sprintf(": %s at column %d", held.First.Reason, held.First.Column)
	}
	if held.Skipped > 0 {
		said += "; " + counted(held.Skipped, "packet") + " without a whole UDP datagram"
	}
	return said
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
