package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes the manual; packages are made with it. It is hidden, since whoever has a package has
// the manual.
func newManCommand() *cobra.Command {
	var dir string
	var date int64
	command := &cobra.Command{
		Use:    "man --dir DIR",
		Short:  "Write the manual pages and the shells' completions into a directory",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			root := command.Root()
			root.DisableAutoGenTag = true
			root.InitDefaultCompletionCmd()
			day := time.Unix(date, 0).UTC()
			err := doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
				Path: dir, CommandSeparator: "-", Header: &doc.GenManHeader{
					Section: "1", Date: &day, Source: "Culvert " + versionName(), Manual: "Culvert",
				},
			})
			if err != nil {
				return fmt.Errorf("write the manual: %w", err)
			}
			return writeCompletions(root, dir)
		},
	}
	command.Flags().StringVar(&dir, "dir", ".", "directory to write into")
	command.Flags().Int64Var(&date, "date", 0, "date of the pages, in seconds since 1970")
	return command
}

// writeCompletions writes one file for each shell, called as the shell looks for it.
func writeCompletions(root *cobra.Command, dir string) error {
	for name, write := range map[string]func(*os.File) error{
		"culvert.bash": func(f *os.File) error { return root.GenBashCompletionV2(f, true) },
		"_culvert":     func(f *os.File) error { return root.GenZshCompletion(f) },
		"culvert.fish": func(f *os.File) error { return root.GenFishCompletion(f, true) },
	} {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write completions: %w", err)
		}
		err = write(file)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return fmt.Errorf("write completions: %w", err)
		}
	}
	return nil
}
