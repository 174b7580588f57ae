package e2e

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// provocation says of one finding of doctor which test makes it on a live system, runs the printed remedy and
// sees it gone; or why none can.
type provocation struct {
	text string // a part of its format in doctor's or the plan's source
	by   string // the test, of this package; none where no machine here can be made like that
	said string // what that test, or doctor's own with the files of such a machine, looks for, if not text
	// not says why the test mends it otherwise than by the printed command, or why there is none.
	not string
}

// noCommand is why a finding is made and seen gone, and not mended by what is printed.
const noCommand = "its remedy is no command: another kernel or machine"

// provocations are all findings that are worth a look.
var provocations = []provocation{
	{text: "there is no such interface", by: "TestPrivDoctorMendsLab"},
	{text: "it is down", by: "TestPrivDoctorMends"},
	{text: "it is another name of %s", by: "TestPrivDoctorMendsLab", said: "it is another name of gw0"},
	{text: "the host's default route leaves by %s", by: "TestPrivDoctorMendsLab",
		said: "default route leaves by"},
	{text: "is spread over the queues by addresses", by: "TestPrivTuneSteersNIC"},
	{text: "the card gives packets to queues %s, too", by: "TestPrivTuneSteersNIC",
		said: "which are not served"},
	{text: "are served and get no packets", by: "TestPrivTuneSteersNIC"},
	{text: "packets from everyone", by: "TestPrivDoctorMendsLab",
		said: "packets from everyone"},
	{text: "a bond has generic XDP alone", by: "TestPrivBond"},
	{text: "%s, and `mode: %s` demands more", by: "TestPrivDoctorMendsLab", said: "`mode: zerocopy` demands"},
	{text: "packets take the way through the kernel first", by: "TestPrivDoctorMendsLab"},
	{text: "%v", by: "TestPrivDoctorMends", said: "their_filter"},
	{text: "queue %d is to be served, and there are %d", by: "TestPrivDoctorMendsLab",
		said: "queue 2 is to be served, and there are 1"},
	{text: "%s gives native XDP transmit queues of its own", said: "of 2 channels at most 1 may be in use",
		not: "it takes a card of bnxt_en, ena or gve; doctor's own test has one's figures"},
	{text: "the card tells when it got each packet, and its clock", said: "may not be read by user culvert",
		not: "it takes a card of ice, igc or mlx5; doctor's own test has one's answers"},
	{text: "mode auto takes native instead", said: "packets longer than 1024 bytes into pieces",
		not: "it takes a card of igc; doctor's own test has one's figures"},
	{text: " is in mode native: ", said: "packets longer than 1024 bytes into pieces",
		not: "the plan's word of the same card"},
	{text: "a worker with several queues takes them in turn", by: "TestPrivDoctorMendsLab",
		said: "takes them in turn"},
	{text: "which the driver does not offer with zero-copy", by: "TestPrivDoctorMendsNIC"},
	{text: "do not fit a frame of %d", by: "TestPrivDoctorMends", said: "do not fit a frame of"},
	{text: "without packets in several pieces", by: "TestPrivDoctorMends", said: "9000"},
	{text: "%s is on: %s", by: "TestPrivDoctorMends", said: "rx-vlan-hw-parse is on"},
	{text: "interrupt %d (%s) of queue %d", by: "TestPrivDoctorMendsNIC", said: "interrupt "},
	{text: "node %d has no memory", by: "TestPrivDoctorMendsCpuset", said: "has no memory", not: noCommand},
	{text: "whose memory the cpuset %s keeps", by: "TestPrivDoctorMendsCpuset",
		said: "whose memory the cpuset "},
	{text: "%s", by: "TestPrivMemoryOnTheWorkersNode", said: "worker 0 is on node %d, and of "},
	{text: "Linux %s is older than %d.%d", by: "TestPrivDoctorSeesKernel", said: "is older than 6.1",
		not: noCommand},
	{text: "/sys/kernel/btf/vmlinux is not there", by: "TestPrivDoctorSeesKernel", not: noCommand},
	{text: "programs are interpreted", by: "TestPrivDoctorMendsHost", said: "interpreted"},
	{text: "no BPF file system on /sys/fs/bpf", by: "TestPrivDoctorMendsMount",
		said: "no BPF file system"},
	{text: "kernel.io_uring_disabled=2", by: "TestPrivDoctorMendsHost", said: "nobody may have a ring"},
	{text: "kernel.io_uring_disabled=1", by: "TestPrivDoctorMendsRing", said: "and no group"},
	{text: "the kernel has none", by: "TestPrivDoctorSeesKernel", not: noCommand},
	{text: "a seccomp filter refuses it", by: "TestPrivDoctorSeesKernel",
		not: "its remedy is a line of a container's profile: the filter is taken off"},
	{text: "real-time threads are not throttled", by: "TestPrivDoctorMendsHost", said: "not throttled"},
	{text: "irqbalance runs", by: "TestPrivDoctorMendsHost", said: "moves the cards' interrupts"},
	{text: "housekeeping has but threads of workers' cores", by: "TestPrivSiblings"},
	{text: "%s threads of workers' cores", by: "TestPrivSiblings", said: "threads of workers' cores"},
	{text: "`workers.huge_pages: on` demands them", by: "TestPrivDoctorMendsHost", said: "demands them"},
	{text: "no huge pages of this size", by: "TestPrivDoctorSeesKernel"},
	{text: "the free ones are on nodes %s", by: "TestPrivDoctorMendsPages", said: "the wrong ones"},
	{text: "transparent ones are off", by: "TestPrivDoctorMendsPages", said: "transparent ones are off"},
	{text: "workers' CPUs sleep too deep", by: "TestDoctorMendsSleepStates"},
	{text: "not held: %s", by: "TestPrivDoctorMendsCapabilities", said: "not held"},
	{text: "RLIMIT_MEMLOCK is %d KiB", by: "TestPrivDoctorMendsMemlock", said: "RLIMIT_MEMLOCK is 64 KiB"},
	{text: "there is one CPU only", by: "TestPrivDoctorMendsCPUs",
		not: "its remedy is a line of the unit, or taskset: the mask is widened"},
	{text: "workers.numa is %d, and %s is on node %d", by: "TestPrivDoctorMendsPlacement",
		said: "workers.numa is "},
	{text: "%s of node %d, where %s is", by: "TestPrivDoctorMendsPlacement",
		said: "workers.cpus has no CPU of node"},
	{text: "second threads of cores", by: "TestPrivSiblings"},
	{text: "of workers.cpus serve no queue", by: "TestPrivDoctorMendsPlacement", said: "serve no queue"},
	{text: "of workers.cpus are not isolated", by: "TestPrivDoctorMendsCPUs"},
	{text: "busy_poll is left off", by: "TestPrivDoctorMendsLab"},
	{text: "busy_poll of %s is left off", by: "TestPrivDoctorMendsLab", said: "busy_poll of tp0 is left off"},
	{text: "queues_fanout changes nothing", by: "TestPrivDoctorMendsLab"},
}

// Goal: there is no finding of doctor that nobody has seen on a live system, but those that are named with
// the reason, and these doctor's own tests make from such a machine's files. Method: the calls in the sources
// that report one, and the texts that the tests look for.
func TestFindingsAreProvoked(t *testing.T) {
	formats := map[string]int{} // format → calls
	for _, folder := range []string{"../../../controlplane/doctor", "../../../controlplane/gateway"} {
		for _, file := range parse(t, folder, false) {
			ast.Inspect(file, func(node ast.Node) bool {
				if format := reported(node); format != "" {
					formats[format]++
				}
				return true
			})
		}
	}
	if len(formats) < 35 {
		t.Fatalf("only %d findings are in the sources: is this test still right?", len(formats))
	}
	literals := map[string][]string{} // test → its strings
	collect := func(folder, by string) {
		for _, file := range parse(t, folder, true) {
			for _, declaration := range file.Decls {
				if function, ok := declaration.(*ast.FuncDecl); ok {
					name := cmp.Or(by, function.Name.Name)
					literals[name] = append(literals[name], stringsIn(function)...)
				}
			}
		}
	}
	const recorded = "controlplane/doctor"
	collect(".", "")
	collect("../../../"+recorded, recorded)
	live, rows := 0, map[string]bool{}
	for _, p := range provocations {
		matched := 0
		for format := range formats {
			if format == p.text || len(p.text) > 2 && strings.Contains(format, p.text) {
				matched++
				rows[format] = true
			}
		}
		// Capabilities have one text and two statuses; a plan's note and the running gateway's have "%s".
		if matched != 1 {
			t.Errorf("%q is %d findings", p.text, matched)
		}
		by, want := cmp.Or(p.by, recorded), cmp.Or(p.said, p.text)
		switch {
		case p.by != "":
			live++
		case p.not == "":
			t.Errorf("%q has neither a test nor a reason", p.text)
		}
		if p.not != "" {
			t.Logf("%q, by %s: %s", p.text, by, p.not)
		}
		if !strings.Contains(strings.Join(literals[by], "\n"), want) {
			t.Errorf("%s does not look for %q", by, want)
		}
	}
	for format := range formats {
		if !rows[format] {
			t.Errorf("no row for the finding %q", format)
		}
	}
	t.Logf("%d of %d findings are provoked on a live system, %d by recorded data", live, len(provocations),
		len(provocations)-live)
}

// reported is the format of a finding that a call or a note in doctor's source reports, "" for others and for
// what is well.
func reported(node ast.Node) string {
	switch n := node.(type) {
	case *ast.CallExpr:
		method, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || method.Sel.Name != "add" || len(n.Args) < 5 {
			return ""
		}
		if status, ok := n.Args[0].(*ast.Ident); !ok || status.Name == "Pass" || status.Name == "Skip" {
			return ""
		}
		return strings.Join(stringsIn(n.Args[4]), "")
	case *ast.CompositeLit:
		if name, ok := n.Type.(*ast.Ident); !ok || name.Name != "Note" {
			return ""
		}
		for _, element := range n.Elts {
			pair, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Text" {
				return strings.Join(stringsIn(pair.Value), "")
			}
		}
	}
	return ""
}

// stringsIn are the string literals below a node, in order.
func stringsIn(node ast.Node) (texts []string) {
	ast.Inspect(node, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}

// parse reads the Go files of a folder: its tests or the others.
func parse(t *testing.T, folder string, tests bool) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(names), err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
