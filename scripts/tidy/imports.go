package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// layer says what the packages of one folder may import beside the standard library. The longest folder that
// contains a package is its layer.
type layer struct {
	folder   string
	internal []string // folders of ours, each with all below it
	external []string // modules
	refused  []string // packages of the standard library that have no place here
}

const (
	xsys       = "golang.org/x/sys"
	ebpf       = "github.com/cilium/ebpf"
	cobra      = "github.com/spf13/cobra"
	pflag      = "github.com/spf13/pflag"
	systemd    = "github.com/coreos/go-systemd"
	yaml       = "github.com/goccy/go-yaml"
	prometheus = "github.com/prometheus"
	netlink    = "github.com/vishvananda/netlink"
	netns      = "github.com/vishvananda/netns"
	xxh3       = "github.com/zeebo/xxh3"
	gopacket   = "github.com/gopacket/gopacket"
	plot       = "gonum.org/v1/plot"
	otel       = "go.opentelemetry.io/otel"
	grpc       = "google.golang.org/grpc"
	bubbletea  = "charm.land/bubbletea/v2"
	charm      = "github.com/charmbracelet/x/ansi"
	snappy     = "github.com/klauspost/compress"
)

// notInDataplane is what the data plane does not know: who configures it, who reads its counters, who logs.
var notInDataplane = []string{
	"net/http", "log", "log/slog", "encoding/json", "flag", "expvar", "os/signal", "html/template",
	"text/template",
}

// layers is the direction of all arrows: cmd → controlplane → dataplane, bpf, numa; dataplane → its leaves. A
// folder that has no line of its own or above it may not exist.
var layers = []layer{
	{folder: "bpf", internal: []string{"bpf/abi"}, external: []string{ebpf, xsys}, refused: notInDataplane},
	{folder: "bpf/abi", refused: notInDataplane},
	{folder: "numa", external: []string{xsys}, refused: notInDataplane},

	{
		folder: "dataplane", internal: []string{"dataplane", "numa", "bpf/abi"}, external: []string{xsys},
		refused: notInDataplane,
	},
	{folder: "dataplane/xsk", external: []string{xsys}, refused: notInDataplane},
	{folder: "dataplane/uring", external: []string{xsys}, refused: notInDataplane},
	{folder: "dataplane/udp", external: []string{xsys}, refused: notInDataplane},
	{folder: "dataplane/spsc", refused: notInDataplane},
	{folder: "dataplane/point", refused: notInDataplane},
	{folder: "dataplane/hist", refused: notInDataplane},
	{folder: "dataplane/lineproto", internal: []string{"dataplane/point"}, refused: notInDataplane},
	{
		folder: "dataplane/lineproto/oracle", internal: []string{"dataplane"},
		external: []string{"github.com/influxdata"},
	},
	{folder: "dataplane/wire", internal: []string{"dataplane/lineproto"}, refused: notInDataplane},
	{folder: "dataplane/rules", internal: []string{"dataplane/point"}, refused: notInDataplane},
	{
		folder: "dataplane/rules/peers", internal: []string{"dataplane"},
		external: []string{"github.com/expr-lang", "github.com/google/cel-go"},
	},
	{
		folder: "dataplane/shard", internal: []string{"dataplane/point"}, external: []string{xxh3},
		refused: notInDataplane,
	},
	{
		folder: "dataplane/influx", internal: []string{"dataplane/point", "dataplane/uring"},
		external: []string{xsys}, refused: notInDataplane,
	},
	{folder: "dataplane/spool", external: []string{xsys, snappy}, refused: notInDataplane},

	{folder: "controlplane/yamlfile", external: []string{yaml}},
	{folder: "controlplane/config", internal: []string{"controlplane/yamlfile"}, external: []string{yaml}},
	{folder: "controlplane/capture", external: []string{gopacket}},
	{
		folder: "controlplane/rulefile",
		internal: []string{
			"controlplane/capture", "controlplane/yamlfile", "dataplane/rules", "dataplane/point",
			"dataplane/lineproto",
		},
		external: []string{yaml},
	},
	{folder: "controlplane/confine", external: []string{xsys}},
	{
		folder:   "controlplane/attach",
		internal: []string{"bpf", "numa", "controlplane/confine", "controlplane/nic"},
		external: []string{ebpf, netlink, netns, xsys},
	},
	{folder: "controlplane/nic", internal: []string{"numa"}, external: []string{netlink, xsys}},
	{
		folder:   "controlplane/doctor",
		internal: []string{"numa", "controlplane"},
		external: []string{netlink, xsys},
	},
	{
		folder:   "controlplane/tune",
		internal: []string{"numa", "controlplane"},
		external: []string{netlink, xsys},
	},
	{
		folder:   "controlplane/gateway",
		internal: []string{"bpf", "numa", "dataplane", "controlplane"},
		external: []string{ebpf, netlink, xsys},
	},
	{folder: "web"},
	{
		folder: "controlplane/traces", internal: []string{"dataplane"}, external: []string{otel, grpc},
	},
	{
		folder: "controlplane/top", internal: []string{"controlplane/telemetry"},
		external: []string{bubbletea, charm},
	},
	{folder: "controlplane/notify", internal: []string{"dataplane/wire"}, external: []string{xsys}},
	{
		folder: "controlplane/telemetry", internal: []string{"bpf", "dataplane"},
		external: []string{ebpf, prometheus},
	},
	{
		folder:   "controlplane/api",
		internal: []string{"controlplane/gateway", "controlplane/telemetry", "web"},
		external: []string{prometheus},
	},
	{
		folder: "controlplane/loadgen",
		// It sends by our AF_XDP sockets, or by a program, and plays what our decoder reads.
		internal: []string{"controlplane/capture", "dataplane/xsk", "dataplane/lineproto", "dataplane/point"},
		external: []string{ebpf, netlink, xsys},
	},
	{folder: "controlplane/fakesink", internal: []string{"dataplane/lineproto", "dataplane/point"}},

	{
		folder: "cmd/culvert",
		// The compiled rules pass through main on their way from rulefile to the gateway; `culvert spool`
		// works on files, without a gateway.
		internal: []string{"controlplane", "numa", "dataplane/rules", "dataplane/spool"},
		external: []string{cobra, pflag, systemd, xsys, bubbletea},
	},

	{
		folder: "bench", internal: []string{"bench", "bpf", "numa", "dataplane", "controlplane", "scripts"},
		external: []string{ebpf, netlink, netns, xsys, plot},
	},
	{folder: "bench/telegraf", external: []string{"github.com/influxdata/telegraf"}},
	{
		folder:   "scripts/packages",
		external: []string{"github.com/goreleaser/nfpm", "github.com/CycloneDX/cyclonedx-go"},
	},
	{
		folder: "scripts", internal: []string{"bpf", "numa", "dataplane", "controlplane", "scripts"},
		external: []string{netlink, netns, xsys, yaml},
	},
}

// refusedExceptions are files that may import what their folder refuses.
var refusedExceptions = map[string]string{
	"dataplane/influx/https.go": "net/http", // sinks behind TLS do not take the ring's way
}

// assertionLibraries have no place in tests, which use the standard library's testing alone.
var assertionLibraries = []string{
	"github.com/stretchr", "github.com/onsi", "gotest.tools", "github.com/google/go-cmp",
	"github.com/frankban", "github.com/go-quicktest",
}

// topFolders are all that may lie at the top.
var topFolders = []string{
	".ci", ".github", "bench", "bpf", "cmd", "controlplane", "dataplane", "deploy", "docs", "numa", "scripts",
	"web",
}

// Imports checks every import against the layers. Tests may import more: any package of ours and the
// libraries that the product has anyway.
func Imports(t *Tree) Findings {
	var findings Findings
	modules := modulePaths(t)
	for _, file := range t.Files {
		if top, _, deep := strings.Cut(file.Path, "/"); deep && !slices.Contains(topFolders, top) {
			findings.add(file.Path, 0,
				"the top level has no folder %q; put it below one of %s", top, strings.Join(topFolders, " "))
		}
		if file.Go == nil || file.Generated {
			continue
		}
		own := layerOf(file.Folder())
		if own == nil {
			findings.add(file.Path, 1,
				"folder %q has no line in the table of layers; add one to scripts/tidy/imports.go",
				file.Folder())
			continue
		}
		for _, spec := range file.Go.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if message := refusal(file, own, imported, modules); message != "" {
				findings.add(file.Path, t.line(spec.Pos()),
					"%s", message)
			}
		}
	}
	return findings
}

// refusal says why a file may not import a package; empty if it may.
func refusal(file *File, own *layer, imported string, modules []string) string {
	internal, ours := within(imported, modules)
	switch {
	case imported == "C":
		return "cgo is not used here; write it in Go over golang.org/x/sys/unix"
	case ours && file.Test():
		return ""
	case ours:
		below := strings.HasPrefix(internal, file.Folder()+"/")
		if below || internal == own.folder || under(internal, own.internal) {
			return ""
		}
		return fmt.Sprintf("%s may not import %s; arrows point one way: %s",
			own.folder, internal, allowed(own.internal))
	case !strings.Contains(strings.SplitN(imported, "/", 2)[0], "."): // the standard library
		refused := slices.Contains(own.refused, imported) && refusedExceptions[file.Path] != imported
		if refused && !file.Test() {
			return fmt.Sprintf("%s does not know %q; return values and let controlplane or cmd do that",
				own.folder, imported)
		}
		return ""
	case file.Test():
		if under(imported, assertionLibraries) {
			return fmt.Sprintf("tests use the standard library alone; replace %q by comparisons", imported)
		}
		return ""
	case under(imported, own.external):
		return ""
	}
	return fmt.Sprintf("%s may not import the library %q; allowed: %s",
		own.folder, imported, allowed(own.external))
}

func allowed(names []string) string {
	if len(names) == 0 {
		return "nothing but the standard library"
	}
	return strings.Join(names, ", ")
}

func layerOf(folder string) *layer {
	var best *layer
	for i := range layers {
		l := &layers[i]
		if under(folder, []string{l.folder}) && (best == nil || len(l.folder) > len(best.folder)) {
			best = l
		}
	}
	return best
}

// under tells whether a path is one of these or lies below one.
func under(name string, of []string) bool {
	return slices.ContainsFunc(of, func(prefix string) bool {
		return name == prefix || strings.HasPrefix(name, prefix+"/")
	})
}

// within gives the folder of an import path that belongs to this tree.
func within(imported string, modules []string) (folder string, ours bool) {
	for _, module := range modules {
		if rest, found := strings.CutPrefix(imported, module+"/"); found {
			return rest, true
		}
		if imported == module {
			return ".", true
		}
	}
	return "", false
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

// modulePaths is the root module's name.
func modulePaths(t *Tree) []string {
	text, err := os.ReadFile(filepath.Join(t.Root, "go.mod"))
	if err != nil {
		return []string{"culvert"}
	}
	if match := moduleLine.FindSubmatch(text); match != nil {
		return []string{string(match[1])}
	}
	return nil
}
