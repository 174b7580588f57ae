package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"culvert/controlplane/config"
	"culvert/dataplane/spool"
)

// spoolChoice is which spools a command works on.
type spoolChoice struct{ file, folder, url string }

func newSpoolCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "spool",
		Short: "Look into what waits on disk, mend it, empty it, while no gateway runs",
		Long: "Look into what waits on disk, mend it and empty it. A running gateway holds its spool:\n" +
			"these commands refuse to touch it then, and `culvert status` shows what it holds.\n" +
			"docs/spool-format.md describes the files.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return exit(exitUsage, errors.New("no command is given; see `culvert spool --help`"))
		},
	}
	command.AddCommand(newSpoolListCommand(), newSpoolCatCommand(), newSpoolVerifyCommand(),
		newSpoolRepairCommand(), newSpoolReplayCommand(), newSpoolDropCommand())
	return command
}

// addTo gives a command the flags that choose spools.
func (c *spoolChoice) addTo(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&c.file, "config", "c", config.DefaultPath, "configuration file that names the folder")
	flags.StringVar(&c.folder, "dir", "", "the folder itself (spool.dir), or one spool in it")
	flags.StringVar(&c.url, "to", "", "only what waits for this URL")
}

// spools are the chosen ones, by path.
func (c *spoolChoice) spools(diagnostics io.Writer) ([]string, error) {
	folder := c.folder
	if folder != "" {
		// Who names a folder is told when it is the wrong one; that of the configuration comes to be with the
		// first gateway.
		if _, err := os.Stat(folder); err != nil {
			return nil, fmt.Errorf("find spools: %w", err)
		}
	} else {
		read, mistakes := config.Load(c.file)
		for _, m := range mistakes {
			fmt.Fprintln(diagnostics, m.Detail())
		}
		if len(mistakes) > 0 {
			return nil, exit(exitConfig, fmt.Errorf("%s: %d %s; --dir names the folder without it", c.file,
				len(mistakes), plural(len(mistakes), "mistake", "mistakes")))
		}
		folder = read.Spool.Dir
	}
	// One spool's own folder will do as well. One that nobody may list has no siblings that matter.
	if siblings, err := spool.Directories(filepath.Dir(filepath.Clean(folder))); err == nil {
		for _, path := range siblings {
			if path == filepath.Clean(folder) {
				return []string{path}, nil
			}
		}
	}
	found, err := spool.Directories(folder)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && c.folder != "" {
		return nil, fmt.Errorf("find spools: there is none in %q; --dir is spool.dir, or one folder in it",
			folder)
	}
	if len(found) == 0 {
		fmt.Fprintf(diagnostics, "nothing has ever waited in %s\n", folder)
	}
	return found, nil
}

// permitted adds to an error that says that somebody may not read a spool who may.
func permitted(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run it as root, or as the gateway's user", err)
	}
	return err
}

// each opens the chosen spools one after the other. do gets the files and the surveys of a spool that waits
// for the chosen URL; with --to and none such it is an error.
func (c *spoolChoice) each(command *cobra.Command, visit spool.Visit,
	do func(path string, files spool.Files, surveys []spool.Survey) error) error {
	paths, err := c.spools(command.ErrOrStderr())
	if err != nil {
		return permitted(err)
	}
	found := false
	for _, path := range paths {
		met, err := c.open(path, visit, do)
		if err != nil {
			return permitted(err)
		}
		found = found || met
	}
	if c.url != "" && !found {
		return fmt.Errorf("find the spool of %q: nothing waits for it", c.url)
	}
	return nil
}

func (c *spoolChoice) open(path string, visit spool.Visit,
	do func(path string, files spool.Files, surveys []spool.Survey) error) (met bool, err error) {
	files, err := spool.OpenExisting(path)
	if errors.Is(err, spool.ErrHeld) {
		return false, exit(exitUnavailable, fmt.Errorf(
			"%w; stop the gateway first, or ask it: `culvert status` shows what waits", err))
	}
	if err != nil {
		return false, err
	}
	defer files.Close()
	if c.url != "" {
		surveys, err := spool.Inspect(files, nil)
		if err != nil {
			return false, err
		}
		if label(surveys).URL != c.url {
			return false, nil
		}
	}
	surveys, err := spool.Inspect(files, visit)
	if err != nil {
		return true, err
	}
	return true, do(path, files, surveys)
}

// label is whose spool it is, as its segments say.
func label(surveys []spool.Survey) spool.Label {
	for _, s := range surveys {
		if s.Label.URL != "" {
			return s.Label
		}
	}
	return spool.Label{Sink: "-", URL: "-"}
}

func newSpoolListCommand() *cobra.Command {
	var choice spoolChoice
	command := &cobra.Command{
		Use:   "ls",
		Short: "List what waits, by sink and URL",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(command.OutOrStdout(), 0, 0, 2, ' ', 0)
			head := "SINK\tURL\tSEGMENTS\tRECORDS\tPOINTS\tOLDEST\tBYTES\tFLAWS\tDIRECTORY\n"
			err := choice.each(command, nil, func(path string, _ spool.Files, surveys []spool.Survey) error {
				fmt.Fprint(w, head)
				head = ""
				of, sum := label(surveys), total(surveys)
				oldest := "-"
				if sum.Oldest != 0 {
					oldest = time.Unix(0, sum.Oldest).UTC().Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%d\t%d\t%s\n", of.Sink, of.URL, segments(surveys),
					sum.WaitingRecords, sum.WaitingPoints, oldest, sum.Bytes, len(sum.Flaws), path)
				return nil
			})
			return errors.Join(err, w.Flush())
		},
	}
	choice.addTo(command)
	return command
}

// segments is how many of the files are in use, and not kept aside.
func segments(surveys []spool.Survey) (n int) {
	for _, s := range surveys {
		if !s.Kept {
			n++
		}
	}
	return n
}

// total adds surveys up. A file without a header, or kept aside, counts as one flaw.
func total(surveys []spool.Survey) spool.Survey {
	var sum spool.Survey
	for _, s := range surveys {
		sum.Bytes += s.Bytes
		sum.WaitingRecords += s.WaitingRecords
		sum.WaitingPoints += s.WaitingPoints
		sum.Flaws = append(sum.Flaws, s.Flaws...)
		if s.Kept || s.Unread != nil {
			sum.Flaws = append(sum.Flaws, spool.Flaw{})
		}
		if sum.Oldest == 0 {
			sum.Oldest = s.Oldest
		}
	}
	return sum
}

func newSpoolCatCommand() *cobra.Command {
	var choice spoolChoice
	command := &cobra.Command{
		Use:   "cat",
		Short: "Print what waits as Line Protocol, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			out := bufio.NewWriterSize(command.OutOrStdout(), 1<<20)
			err := choice.each(command, func(r *spool.Record) error {
				_, err := out.Write(r.Body)
				return err
			}, func(string, spool.Files, []spool.Survey) error { return nil })
			return errors.Join(err, out.Flush())
		},
	}
	choice.addTo(command)
	return command
}

func newSpoolVerifyCommand() *cobra.Command {
	var choice spoolChoice
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check every byte; name what is torn or corrupt",
		Long: "Check every byte and name what is torn (the end of a file that was being written) or\n" +
			"corrupt. It changes nothing. Exits 1 if there is any; `culvert spool repair` cuts it out.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			flaws, out := 0, command.OutOrStdout()
			err := choice.each(command, nil, func(path string, _ spool.Files, surveys []spool.Survey) error {
				for _, s := range surveys {
					flaws += printFlaws(out, path, &s)
				}
				return nil
			})
			if err == nil && flaws > 0 {
				err = fmt.Errorf("verify spool: %d %s; `culvert spool repair` cuts them out and keeps them",
					flaws, plural(flaws, "flaw", "flaws"))
			}
			return err
		},
	}
	choice.addTo(command)
	return command
}

// printFlaws tells what is wrong with a file and how many things are.
func printFlaws(out io.Writer, path string, s *spool.Survey) int {
	name := filepath.Join(path, s.Name)
	switch {
	case s.Kept:
		fmt.Fprintf(out, "%s: kept aside, %d bytes\n", name, s.Bytes)
		return 0
	case s.Unread != nil:
		fmt.Fprintf(out, "%s: %v\n", name, s.Unread)
		return 1
	}
	for _, f := range s.Flaws {
		what := "corrupt"
		if f.Torn {
			what = "torn"
		}
		fmt.Fprintf(out, "%s: bytes %d to %d are %s, %d points\n", name, f.From, f.To, what, f.Points)
	}
	if len(s.Flaws) == 0 {
		fmt.Fprintf(out, "%s: sound, %d records, %d points, %d wait\n", name, s.Records, s.Points,
			s.WaitingPoints)
	}
	return len(s.Flaws)
}

func newSpoolRepairCommand() *cobra.Command {
	var choice spoolChoice
	command := &cobra.Command{
		Use:   "repair",
		Short: "Cut out what is torn or corrupt and keep it aside",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return choice.each(command, nil, func(path string, files spool.Files, _ []spool.Survey) error {
				mended, err := spool.Repair(files)
				for _, s := range mended {
					printFlaws(command.OutOrStdout(), path, &s)
				}
				fmt.Fprintf(command.OutOrStdout(), "%s: %d %s mended\n", path, len(mended),
					plural(len(mended), "segment", "segments"))
				return err
			})
		},
	}
	choice.addTo(command)
	return command
}

func newSpoolDropCommand() *cobra.Command {
	var choice spoolChoice
	var all bool
	command := &cobra.Command{
		Use:   "drop",
		Short: "Remove what waits, and what was kept aside, for good",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if choice.url == "" && !all {
				return exit(exitUsage, errors.New("drop from spool: want --to URL, or --all"))
			}
			return choice.each(command, nil, func(path string, files spool.Files, _ []spool.Survey) error {
				gone, err := spool.Clear(files)
				sum := total(gone)
				fmt.Fprintf(command.OutOrStdout(), "%s: dropped %d points, %d bytes\n", path,
					sum.WaitingPoints, sum.Bytes)
				return err
			})
		},
	}
	choice.addTo(command)
	command.Flags().BoolVar(&all, "all", false, "for every URL")
	return command
}
