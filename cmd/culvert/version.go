package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker (-X main.version=…) and nowhere else.
var version string

// build is what is known of how this binary came to be.
type build struct {
	version, commit, time string
	modified              bool
}

// readBuild takes the linker's version and what the Go tool noted of the checkout.
func readBuild() build {
	b := build{version: version, commit: "unknown"}
	if noted, ok := debug.ReadBuildInfo(); ok {
		if b.version == "" && noted.Main.Version != "(devel)" {
			b.version = noted.Main.Version
		}
		for _, setting := range noted.Settings {
			switch setting.Key {
			case "vcs.revision":
				b.commit = setting.Value
			case "vcs.time":
				b.time = setting.Value
			case "vcs.modified":
				b.modified = setting.Value == "true"
			}
		}
	}
	if b.version == "" {
		b.version = "unknown"
	}
	return b
}

// versionName is this binary's version, as users know it.
func versionName() string { return readBuild().version }

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of culvert, of Go and of the running kernel",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			b := readBuild()
			out := command.OutOrStdout()
			fmt.Fprintf(out, "culvert %s\n", b.version)
			commit := b.commit
			if b.time != "" {
				commit += " of " + b.time
			}
			if b.modified {
				commit += ", modified"
			}
			fmt.Fprintf(out, "commit  %s\n", commit)
			fmt.Fprintf(out, "go      %s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			var name unix.Utsname
			if err := unix.Uname(&name); err != nil {
				return fmt.Errorf("read the kernel's version: %w", err)
			}
			fmt.Fprintf(out, "kernel  %s %s\n", unix.ByteSliceToString(name.Release[:]),
				unix.ByteSliceToString(name.Machine[:]))
			return nil
		},
	}
}
