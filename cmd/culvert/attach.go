package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
)

func newAttachCommand() *cobra.Command {
	var iface, file, mode string
	command := &cobra.Command{
		Use:   "attach -i IFACE",
		Short: "Load and pin the steering program on an interface",
		Long: "Load the steering program, attach it and pin its link below " + attach.DefaultPinDir + ".\n" +
			"Everything passes to the kernel until a gateway runs and takes the link over; when that\n" +
			"ends, however it ends, everything passes again. `culvert detach` removes it.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			o := attach.Options{Interface: iface}
			if file != "" {
				setup, err := load(file, command.ErrOrStderr())
				if err != nil {
					return err
				}
				found := findInterface(setup.Config, iface)
				if found == nil {
					return exit(exitConfig, fmt.Errorf("%s: interface %q is not in it", file, iface))
				}
				o.StallAfter = found.StallAfter
				if !command.Flags().Changed("mode") {
					mode = found.Mode
				}
			}
			var err error
			if o.Mode, err = attach.ParseMode(mode); err != nil {
				return exit(exitUsage, err)
			}
			o.ZeroCopy = mode == "zerocopy"
			pinned, err := attach.Pin(o)
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			if pinned.Refused != nil {
				fmt.Fprintf(command.ErrOrStderr(), "culvert: %v: attached in generic mode instead\n",
					pinned.Refused)
			}
			if pinned.Refreshed {
				fmt.Fprintf(out, "%s: already attached in %s mode, now with this version's program (%s)\n",
					iface, pinned.Mode, pinned.Path)
				return nil
			}
			fmt.Fprintf(out,
				"%s: attached in %s mode, pinned as %s; packets pass to the kernel until a gateway runs\n",
				iface, pinned.Mode, pinned.Path)
			return nil
		},
	}
	command.Flags().StringVarP(&iface, "interface", "i", "", "interface to attach to")
	command.Flags().StringVarP(&file, "config", "c", "",
		"configuration file with the interface's settings (optional)")
	command.Flags().StringVar(&mode, "mode", "auto", "auto, zerocopy, native or generic")
	command.MarkFlagRequired("interface")
	return command
}

func findInterface(c *config.Config, name string) *config.Interface {
	for i := range c.Interfaces {
		if c.Interfaces[i].Name == name {
			return &c.Interfaces[i]
		}
	}
	return nil
}

func newDetachCommand() *cobra.Command {
	var iface string
	var all bool
	command := &cobra.Command{
		Use:   "detach -i IFACE | --all",
		Short: "Remove what `culvert attach` put on an interface",
		Long: "Remove exactly what culvert put on an interface and pinned, also what a crash left behind.\n" +
			"Another's program is never touched, nor a gateway that runs without a pin: its program goes\n" +
			"with it.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var removed []attach.Removed
			var err error
			if all {
				removed, err = attach.UnpinAll("")
			} else {
				removed, err = attach.Unpin("", iface)
			}
			for _, r := range removed {
				fmt.Fprintln(command.OutOrStdout(), r)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(command.OutOrStdout(), "nothing of culvert's is pinned there")
			}
			return err
		},
	}
	command.Flags().StringVarP(&iface, "interface", "i", "", "interface to detach from")
	command.Flags().BoolVar(&all, "all", false, "every interface")
	command.MarkFlagsOneRequired("interface", "all")
	command.MarkFlagsMutuallyExclusive("interface", "all")
	return command
}
