package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"culvert/controlplane/loadgen"
)

// fragmentFrom is the UDP payload, in bytes, from which on a packet over IPv4 does not fit Ethernet's usual
// 1500.
const fragmentFrom = 1473

func newLoadCommand() *cobra.Command {
	var to []string
	var mac, speed string
	var asJSON bool
	c := loadgen.Config{}
	command := &cobra.Command{
		Use:   "load --to HOST:PORT",
		Short: "Send Line Protocol over UDP at a steady rate",
		Long: "Send Line Protocol over UDP at a steady rate and print what was sent. Every point has a\n" +
			"series and timestamp of its own, so a database that got them all counts as many. Ends after\n" +
			"--duration or --count, or on Ctrl-C; exits 1 if it could not hold 99 % of the rate.\n\n" +
			"By default packets leave by UDP sockets, which takes no privilege. --via xdp sends by AF_XDP\n" +
			"past the stack, with zero copy where the driver has it; it takes CAP_NET_RAW. --via live\n" +
			"lets the kernel run a program that sends, the fastest way into a veth pair; it takes\n" +
			"CAP_BPF and CAP_NET_ADMIN. --play sends what a capture or a file of lines holds.\n\n" +
			"Templates:\n  " +
			strings.Join(loadgen.Templates(), "\n  "),
		Example: "  culvert load --to 10.0.0.1:8089 --rate 100000 --points-per-packet 10 --duration 10s\n" +
			"  culvert load --to '[fd00::1]:8089' --template 'm,id={series} v={float}' --count 1000\n" +
			"  culvert load --to 10.88.0.1:8089 --via live --cpu 1 --sequence --duration 10s\n" +
			"  culvert load --to 10.0.0.1:8089 --play monday.pcapng --speed 2x --loop",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			err := parseLoad(&c, mac, speed)
			if err != nil {
				return exit(exitUsage, err)
			}
			if c.To, err = resolveReceivers(ctx, to); err != nil {
				return err
			}
			return runLoad(ctx, command, c, asJSON)
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&to, "to", nil, "receiver, HOST:PORT; give it again for several")
	flags.IntVar(&c.Flows, "flows", 0, "source ports, so that the receiver's queues are all used (default 8)")
	flags.Float64Var(&c.Rate, "rate", 0, "points per second; 0: as fast as it goes")
	flags.IntVar(&c.PointsPerPacket, "points-per-packet", 1, "lines in a datagram")
	flags.IntVar(&c.Series, "series", 1000, "different series")
	flags.DurationVar(&c.Duration, "duration", 0, "end after this time; 0: no end")
	flags.Uint64Var(&c.Count, "count", 0, "end after this many points; 0: no end")
	flags.StringVar(&c.Precision, "precision", "ns", "unit of timestamps: ns, us, ms or s")
	flags.BoolVar(&c.NoTimestamps, "no-timestamps", false, "send points without timestamps")
	flags.StringVar(&c.Template, "template", loadgen.DefaultTemplate,
		"name of a template, or a line with placeholders")
	flags.Uint64Var(&c.Seed, "seed", 1, "the same seed gives the same values")
	flags.Float64Var(&c.AlertShare, "alert-share", 0, "part of the points, 0 to 1, that are above 95 degrees")
	flags.StringVar(&c.Via, "via", loadgen.ViaAuto, "how packets leave: auto, socket, xdp or live")
	flags.StringVar(&c.Interface, "interface", "", "where packets leave (default: as the routes say)")
	flags.StringVar(&mac, "to-mac", "",
		"with xdp and live: the next hop's hardware address (default: ask for it)")
	flags.BoolVar(&c.NoChecksum, "no-checksum", false, "with xdp and live over IPv4: leave out UDP checksums")
	flags.BoolVar(&c.NoSegments, "no-segments", false,
		"with sockets: give the kernel every packet for itself, not up to 64 as one")
	flags.IntVar(&c.CPU, "cpu", -1, "send on this CPU alone; -1: on any")
	flags.BoolVar(&c.Sequence, "sequence", false,
		"give every point an integer field seq, which `culvert sink --sequence` checks")
	flags.StringVar(&c.Play, "play", "", "send what a file holds: pcap, pcapng or Line Protocol")
	flags.StringVar(&speed, "speed", "",
		"play at so many times its own pace, such as 1x (default: as --rate says)")
	flags.BoolVar(&c.Loop, "loop", false, "play the file again and again")
	flags.BoolVar(&asJSON, "json", false, "print the report as JSON")
	command.MarkFlagRequired("to")
	return command
}

// parseLoad reads the flags that are no numbers.
func parseLoad(c *loadgen.Config, mac, speed string) (err error) {
	c.Pin = c.CPU >= 0
	if mac != "" {
		if c.ToMAC, err = net.ParseMAC(mac); err != nil || len(c.ToMAC) != 6 {
			return fmt.Errorf("hardware address %q, want one such as 02:00:00:00:00:01", mac)
		}
	}
	if speed != "" {
		c.Speed, err = strconv.ParseFloat(strings.TrimSuffix(speed, "x"), 64)
		if err != nil || !(c.Speed > 0) || c.Speed > 1e9 {
			return fmt.Errorf("speed %q, want one such as 1x, 0.5x or 10x", speed)
		}
	}
	return nil
}

// runLoad sends and prints the report.
func runLoad(ctx context.Context, command *cobra.Command, c loadgen.Config, asJSON bool) error {
	if err := c.Check(); err != nil {
		return exit(exitUsage, err)
	}
	log := logger(command)
	if size := c.PacketSize(); size >= fragmentFrom {
		log.Warn("packets will be fragmented on Ethernet with an MTU of 1500", "payload_bytes", size)
	}
	if !asJSON {
		c.Progress = func(r loadgen.Report) { fmt.Fprintln(command.ErrOrStderr(), r) }
	}
	report, err := loadgen.Run(ctx, c)
	if asJSON {
		encoder := json.NewEncoder(command.OutOrStdout())
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(report))
	} else {
		fmt.Fprintln(command.OutOrStdout(), report)
	}
	if err != nil {
		return err
	}
	if !report.Held && !report.Interrupted {
		if report.TargetRate == 0 {
			return fmt.Errorf("keep the file's pace: it took %.3f s, up to %.3f s behind; "+
				"play it at a lower --speed", report.Seconds, report.LagMax)
		}
		return fmt.Errorf("hold %.0f points/s: reached %.0f, %.1f %% of it; "+
			"send more --points-per-packet or ask for less", report.TargetRate, report.Rate,
			100*report.Rate/report.TargetRate)
	}
	return nil
}

// resolveReceivers looks names up; every name stands for the first of its addresses.
func resolveReceivers(ctx context.Context, texts []string) ([]netip.AddrPort, error) {
	var receivers []netip.AddrPort
	for _, text := range texts {
		host, service, err := net.SplitHostPort(text)
		if err != nil {
			return nil, exit(exitUsage, fmt.Errorf("receiver %q is not HOST:PORT: %w", text, err))
		}
		port, err := strconv.ParseUint(service, 10, 16)
		if err != nil || port == 0 {
			return nil, exit(exitUsage,
				fmt.Errorf("receiver %q: port %q is not in 1 to 65535", text, service))
		}
		address, err := netip.ParseAddr(host)
		if err != nil {
			found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return nil, fmt.Errorf("look up receiver %q: %w", text, err)
			}
			address = found[0]
		}
		receivers = append(receivers, netip.AddrPortFrom(address, uint16(port)))
	}
	return receivers, nil
}
