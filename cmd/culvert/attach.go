package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
)

func newAttachCommand() *cobra.Command {
	var iface, file, mode string
	command := &cobra.Command{
		Use:   "attach -i IFACE | -c FILE",
		Short: "Load and pin the steering program on an interface",
		Long: "Load the steering program, attach it and pin its link below " + attach.ServicePinDir + ",\n" +
			"or below " + attach.DefaultPinDir + " where no BPF file system is mounted there. Everything\n" +
			"passes to the kernel until a gateway runs and takes the link over; when that ends, however\n" +
			"it ends, everything passes again. With a configuration alone it is done on each of its\n" +
			"interfaces, but those of mode socket. Where libxdp's dispatcher is on an interface, culvert\n" +
			"joins the programs that it runs, which takes root. `culvert detach` removes what this put.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var demands []config.Interface
			if file != "" {
				c, err := loadHost(file, command.ErrOrStderr())
				if err != nil {
					return err
				}
				demands = c.Interfaces
			}
			if iface != "" {
				demand := config.Interface{Name: iface, Mode: mode}
				if file != "" {
					found := findInterface(demands, iface)
					if found == nil {
						return exit(exitConfig, fmt.Errorf("%s: interface %q is not in it", file, iface))
					}
					demand = *found
				}
				demands = []config.Interface{demand}
			}
			var errs []error
			for i := range demands {
				if command.Flags().Changed("mode") {
					demands[i].Mode = mode
				}
				if demands[i].Mode == "socket" && iface == "" {
					continue
				}
				errs = append(errs, attachOne(command, &demands[i]))
			}
			return errors.Join(errs...)
		},
	}
	command.Flags().StringVarP(&iface, "interface", "i", "", "interface to attach to")
	command.Flags().StringVarP(&file, "config", "c", "",
		"configuration file with the interfaces and their settings")
	command.Flags().StringVar(&mode, "mode", "auto", "auto, zerocopy, native or generic")
	command.MarkFlagsOneRequired("interface", "config")
	return command
}

// attachOne attaches as one interface's settings ask for and says what came of it.
func attachOne(command *cobra.Command, demand *config.Interface) error {
	mode, err := attach.ParseMode(demand.Mode)
	if err != nil {
		return exit(exitUsage, err)
	}
	pinned, err := attach.Pin(attach.Options{Interface: demand.Name, Mode: mode,
		ZeroCopy: demand.Mode == "zerocopy", StallAfter: demand.StallAfter})
	if err != nil {
		return err
	}
	out := command.OutOrStdout()
	if pinned.Refused != nil {
		fmt.Fprintf(command.ErrOrStderr(), "culvert: %v: attached in generic mode instead\n", pinned.Refused)
	}
	if pinned.Joined {
		sayJoined(command, pinned)
		return nil
	}
	if pinned.Refreshed {
		fmt.Fprintf(out, "%s: already attached in %s mode, now with this version's program (%s)\n",
			demand.Name, pinned.Mode, pinned.Path)
		return nil
	}
	fmt.Fprintf(out,
		"%s: attached in %s mode, pinned as %s; packets pass to the kernel until a gateway runs\n",
		demand.Name, pinned.Mode, pinned.Path)
	return nil
}

// sayJoined says beside whom, and what that means to them.
func sayJoined(command *cobra.Command, pinned attach.Pinned) {
	did, row := "joined", ""
	if pinned.Refreshed {
		did = "already in"
	}
	if pinned.Beside != nil {
		row = ", which runs " + strings.Join(pinned.Beside, ", ")
	}
	fmt.Fprintf(command.OutOrStdout(), "%s: %s libxdp's dispatcher in %s mode%s; pinned as %s\n",
		pinned.Interface, did, pinned.Mode, row, pinned.Path)
	if pinned.Locked {
		fmt.Fprintf(command.ErrOrStderr(), "culvert: %s: the libxdp that loaded the others (before 1.5.5) "+
			"can neither add nor remove single programs on this kernel while culvert has joined: "+
			"`culvert detach -i %s` before, and attach after\n", pinned.Interface, pinned.Interface)
	}
}

func findInterface(interfaces []config.Interface, name string) *config.Interface {
	for i := range interfaces {
		if interfaces[i].Name == name {
			return &interfaces[i]
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
