package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallest is the shortest configuration there is: all else has a default.
const smallest = "interfaces: [{name: eth1}]\n" +
	"sinks: [{name: main, urls: [http://127.0.0.1:8086], database: t}]\n"

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, wrong := Parse("/etc/culvert/culvert.yaml", []byte(text))
	for _, e := range wrong {
		t.Error(e.Detail())
	}
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func TestSmallestFileHasEveryDefault(t *testing.T) {
	c := mustParse(t, smallest)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if c.Gateway.ID != host {
		t.Errorf("gateway.id is %q, want the host's name %q", c.Gateway.ID, host)
	}
	in := c.Interfaces[0]
	if in.Mode != "auto" || in.Queues != nil || in.Checksum != "auto" || in.StallAfter != time.Second {
		t.Errorf("interface %+v", in)
	}
	if l := c.Listeners; len(l) != 1 || l[0].Port != 8089 || l[0].Precision != "ns" || l[0].Address != nil {
		t.Errorf("listeners %+v", l)
	}
	if tn := c.Tenants; len(tn) != 1 || tn[0].Name != "default" || tn[0].Sink != "main" {
		t.Errorf("tenants %+v", tn)
	}
	s := c.Sinks[0]
	if s.API() != 1 || s.Connections != 2 || s.Batch.Bytes != 1<<20 || s.Retry.Jitter != 0.1 ||
		s.Uint != "keep" {
		t.Errorf("sink %+v", s)
	}
	if c.HTTP.Listen != "127.0.0.1:9490" || c.Workers.Frames != 8192 || c.Workers.NUMA != NodeLocal {
		t.Errorf("http %+v, workers %+v", c.HTTP, c.Workers)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, wrong := Load("testdata/full.yaml")
	for _, e := range wrong {
		t.Fatal(e.Detail())
	}
	if in := c.Interfaces[0]; !reflect.DeepEqual(in.Queues, Numbers{0, 2, 3}) || in.Mode != "zerocopy" ||
		in.Checksum != "verify" || in.StallAfter != 2*time.Second {
		t.Errorf("interface %+v", in)
	}
	l := c.Listeners[0]
	if l.Precision != "ms" || l.SourceTag != "sender" || l.Tags["rack"] != "007" ||
		l.MaxAhead != 30*time.Second {
		t.Errorf("listener %+v", l)
	}
	if !slices.Equal(l.Sources, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.168.7.7/32")}) {
		t.Errorf("sources %v", l.Sources)
	}
	if len(l.Address) != 3 || l.Address[1] != netip.MustParseAddr("fd00::3") {
		t.Errorf("address %v", l.Address)
	}
	if w := c.Workers; w.CPUs.String() != "2-5,8" || w.NUMA != 1 || w.HugePages != "on" ||
		w.FrameSize != 4096 || w.Batch != 32 || w.Wait != "busy" {
		t.Errorf("workers %+v", w)
	}
	folder := "testdata"
	if f := c.Rules.Files; f[0] != filepath.Join(folder, "rules/*.yaml") || f[1] != "/etc/culvert/more.yaml" {
		t.Errorf("rule files %v", c.Rules.Files)
	}
	s := c.Sinks[0]
	if s.API() != 2 || s.TokenFile != filepath.Join(folder, "token") || s.Batch.Bytes != 512<<10 ||
		s.Batch.Linger != 100*time.Microsecond || s.Retry.Jitter != 0.25 || s.Connections != 3 {
		t.Errorf("sink %+v", s)
	}
	limits := Limits{PacketsPerSecond: 9000, SourcePacketsPerSecond: 100, PointsPerSecond: 50_000,
		Series: 1000, Burst: 500}
	if c.Tenants[0].Limits != limits || c.Tenants[1].Limits != (Limits{}) {
		t.Errorf("limits %+v", c.Tenants)
	}
	if c.Tenants[1].Sink != "main" || c.Notifiers[1].Limit != 10 || c.Notifiers[0].Limit != 1000 {
		t.Errorf("tenants %+v, notifiers %+v", c.Tenants, c.Notifiers)
	}
}

// testdata/wrong.txt holds files, each followed by the errors it must give, with "=> " in front, and an empty
// line. A second reading of the same text finds the same.
func TestErrorsNamePlaceKeyAndRemedy(t *testing.T) {
	cases, err := os.ReadFile("testdata/wrong.txt")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for block := range strings.SplitSeq(strings.TrimSuffix(string(cases), "\n\n"), "\n\n") {
		var text strings.Builder
		var want []string
		for line := range strings.SplitSeq(block, "\n") {
			if message, ok := strings.CutPrefix(line, "=> "); ok {
				want = append(want, message)
			} else {
				text.WriteString(line + "\n")
			}
		}
		for range 2 {
			_, wrong := Parse("c.yaml", []byte(text.String()))
			var got []string
			for _, e := range wrong {
				got = append(got, e.Error())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s\ngives\n  %s\nwant\n  %s", &text, strings.Join(got, "\n  "),
					strings.Join(want, "\n  "))
			}
		}
		count++
	}
	if count < 60 {
		t.Errorf("%d cases were found, want all", count)
	}
}

func TestEmptyFileLacksTwoSections(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "~\n"} {
		_, wrong := Parse("c.yaml", []byte(text))
		if len(wrong) != 2 || wrong[0].Error() != "c.yaml: interfaces: is missing and has no default" ||
			wrong[1].Error() != "c.yaml: sinks: is missing and has no default" {
			t.Errorf("%q gives %v", text, wrong)
		}
	}
}

// A library that reads a list within braces as YAML does makes tornText superfluous.
func TestColonsWithinBraces(t *testing.T) {
	c := mustParse(t, smallest+"listeners: [{name: a, address: [fd00::1, 10.0.0.1, '::1']}]\n")
	if got := c.Sinks[0].URLs[0]; got != "http://127.0.0.1:8086" {
		t.Errorf("url %q", got)
	}
	if got := c.Listeners[0].Address; len(got) != 3 || got[0] != netip.MustParseAddr("fd00::1") {
		t.Errorf("addresses %v", got)
	}
}

func TestSectionsOfCommentsAndAnchors(t *testing.T) {
	c := mustParse(t, smallest+"rules:\n#  files: []\nlisteners:\n"+
		"  - {name: a, port: 1, sources: &lan [10.0.0.0/8]}\n  - {name: b, port: 2, sources: *lan}\n")
	if c.Rules.MaxKeys != 100_000 || len(c.Listeners[1].Sources) != 1 {
		t.Errorf("rules %+v, listeners %+v", c.Rules, c.Listeners)
	}
}

func TestManyNames(t *testing.T) {
	var text strings.Builder
	text.WriteString(smallest + "listeners:\n")
	for i := range listenersMax + 1 {
		fmt.Fprintf(&text, "  - {name: l%d, port: %d}\n", i, 1000+i)
	}
	text.WriteString("tenants:\n")
	for i := range tenantsMax + 1 {
		fmt.Fprintf(&text, "  - {name: t%d, sources: [10.%d.%d.0/24]}\n", i, i/256, i%256)
	}
	_, wrong := Parse("c.yaml", []byte(text.String()))
	if len(wrong) != 2 || wrong[0].Error() != "c.yaml:3:1: listeners: 65 listeners are more than 64" ||
		!strings.HasSuffix(wrong[1].Error(), "tenants: 257 tenants are more than 256") {
		t.Errorf("%v", wrong)
	}
}

func TestLoadOfAMissingFile(t *testing.T) {
	c, wrong := Load("testdata/none.yaml")
	if c != nil || len(wrong) != 1 ||
		wrong[0].Error() != "testdata/none.yaml: read configuration: no such file or directory" {
		t.Errorf("%v, %v", c, wrong)
	}
}

func TestDetailShowsTheLine(t *testing.T) {
	_, wrong := Parse("c.yaml", []byte(smallest+"http: {listn: x}\n"))
	want := `c.yaml:3:8: http: unknown key "listn": did you mean "listen"?` +
		"\n  3 | http: {listn: x}\n    |        ^"
	if len(wrong) != 1 || wrong[0].Detail() != want {
		t.Errorf("got\n%s\nwant\n%s", wrong[0].Detail(), want)
	}
}

func TestScalarsRoundTrip(t *testing.T) {
	for _, text := range []string{"0", "1000", "1KiB", "1536KiB", "10GiB"} {
		if s, err := parseSize(text); err != nil || s.String() != text {
			t.Errorf("size %q becomes %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "-1", "1 KB", "9999999999GiB", "1.5MiB"} {
		if s, err := parseSize(text); err == nil {
			t.Errorf("size %q becomes %v", text, s)
		}
	}
	for _, text := range []string{"auto", "0", "2-5,8", "1,3"} {
		if n, err := parseNumbers(text); err != nil || n.String() != text {
			t.Errorf("list %q becomes %v, %v", text, n, err)
		}
	}
	for _, text := range []string{"0%", "12.5%", "100%"} {
		if p, err := parsePercent(text); err != nil || p.String() != text {
			t.Errorf("share %q becomes %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"101%", "-1%", "NaN%", "x"} {
		if p, err := parsePercent(text); err == nil {
			t.Errorf("share %q becomes %v", text, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(smallest))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("interfaces: {<<: {name: x}}\nsinks: !!map [~]\n? [a]\n: b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, wrong := Parse("c.yaml", text)
		if (c == nil) == (len(wrong) == 0) {
			t.Fatalf("a configuration and errors: %v", wrong)
		}
		for _, e := range wrong {
			if e.Message == "" || strings.Contains(e.Error(), "\n") {
				t.Fatalf("the error is not one line: %q", e.Error())
			}
			e.Detail()
		}
	})
}
