package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// victoria is a private VictoriaMetrics in the gateway's namespace, on files that outlive its stops.
type victoria struct {
	t       *testing.T
	lab     *testenv.Lab
	url     string
	dir     string
	command *exec.Cmd
}

// newVictoria makes one that is not running yet.
func newVictoria(t *testing.T, lab *testenv.Lab) *victoria {
	t.Helper()
	if _, err := exec.LookPath("victoria-metrics"); err != nil {
		testenv.Skip(t, "victoria-metrics is not installed")
	}
	return &victoria{t: t, lab: lab, dir: t.TempDir(), url: "http://127.0.0.1:8428"}
}

func (v *victoria) start() {
	v.t.Helper()
	v.command = exec.Command("victoria-metrics", "-httpListenAddr=127.0.0.1:8428",
		"-storageDataPath="+filepath.Join(v.dir, "data"), "-retentionPeriod=100y", "-loggerLevel=ERROR")
	log, err := os.Create(filepath.Join(v.dir, "log"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer log.Close()
	v.command.Stdout, v.command.Stderr = log, log
	if err := v.lab.Gateway.Do(v.command.Start); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { v.stop(syscall.SIGKILL) })
	eventually(v.t, "victoria-metrics answers", func() error {
		_, err := v.ask("/health", nil)
		return err
	})
}

// stop ends the server. SIGTERM lets it write what it holds: what a kill costs it is not the gateway's doing,
// since it says yes to a write before the points are on its disk.
func (v *victoria) stop(by syscall.Signal) {
	if v.command.ProcessState == nil {
		_ = v.command.Process.Signal(by)
		_ = v.command.Wait()
	}
}

func (v *victoria) ask(path string, form url.Values) (string, error) {
	response, err := namespaceClient(v.lab).PostForm(v.url+path, form)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s %s", path, response.Status, body)
	}
	return string(body), err
}

// series is one series as the server exports it.
type series struct {
	Metric     map[string]string
	Values     []float64
	Timestamps []int64 // milliseconds
}

// export is all series that a selector names, by the metric's name. Queries see what was written only once it
// was flushed.
func (v *victoria) export(selector string) (map[string]series, error) {
	if _, err := v.ask("/internal/force_flush", nil); err != nil {
		return nil, err
	}
	body, err := v.ask("/api/v1/export", url.Values{"match[]": {selector}})
	if err != nil {
		return nil, err
	}
	all := map[string]series{}
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		var s series
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		if before, found := all[s.Metric["__name__"]]; found {
			// One series comes in several lines where it lies in several blocks.
			s.Values = append(before.Values, s.Values...)
			s.Timestamps = append(before.Timestamps, s.Timestamps...)
		}
		all[s.Metric["__name__"]] = s
	}
	return all, lines.Err()
}

// version2 is its target as an InfluxDB 2.
const version2 = "version: 2, org: o, bucket: b, token_file: token"

// configureVictoria writes to it as to InfluxDB 2 or 1.
func configureVictoria(t *testing.T, lab *testenv.Lab, v *victoria, target string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "token", "any") // The server asks for none.
	return write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d, tags: {site: "ber lin"}}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], %s, uint: int, batch: {bytes: 64KiB},
  retry: {attempts: 2, first: 20ms, max: 200ms}}]
spool: {dir: %s, segment: 1MiB, max: 64MiB, sync: 20ms}
`, lab.GatewayInterface, port, v.url, target, filepath.Join(t.TempDir(), "spool")))
}

// Goal: every kind of value that VictoriaMetrics can hold is exported equal to what was sent, by both paths
// that it speaks. Method: lines of each kind through the gateway, then its export. It holds numbers alone, as
// floats: integers are exact up to 2^53, true is 1 and false 0, and a text is 0. No TestPriv…, since the
// emulated machines have no such server.
func TestEveryKindOfValueReachesVictoriaMetrics(t *testing.T) {
	need(t)
	now := time.Now().Truncate(time.Millisecond)
	f := func(name, target, extra string) {
		t.Run(name, func(t *testing.T) {
			lab := testenv.NewLab(t, 2)
			v := newVictoria(t, lab)
			v.start()
			g := start(t, lab, "run", "-c", configureVictoria(t, lab, v, target))
			g.ready()
			conn := udpSender(t, lab, lab.GatewayIPv4)
			for _, line := range []string{
				`kinds,tag\ x=v\=1\,2,ü=é f=1.5,neg=-2.25e-3,tiny=5e-300,i=-42i,whole=9007199254740991i,` +
					"u=42u,t=true,F=False,s=\"a \\\"quoted\\\" text, with = and ,\"",
				`a\,b\ c v=7`,
			} {
				if _, err := fmt.Fprintf(conn, "%s %d", line, now.UnixNano()); err != nil {
					t.Fatal(err)
				}
			}
			if s := g.settled(2); s.Ledger.Written != 2 {
				t.Fatalf("%+v", s.Ledger)
			}
			labels := map[string]string{"site": "ber lin"}
			if extra != "" {
				labels["db"] = extra
			}
			tagged := maps.Clone(labels)
			tagged["tag x"], tagged["ü"] = "v=1,2", "é"
			want := map[string]float64{"kinds_f": 1.5, "kinds_neg": -2.25e-3, "kinds_tiny": 5e-300,
				"kinds_i": -42, "kinds_whole": 9007199254740991, "kinds_u": 42, "kinds_t": 1, "kinds_F": 0,
				"kinds_s": 0, "a,b c_v": 7}
			eventually(t, "the values are seen", func() error {
				got, err := v.export(`{site="ber lin"}`)
				if err != nil || len(got) != len(want) {
					return fmt.Errorf("%d series, want %d: %v, %v", len(got), len(want), got, err)
				}
				for name, value := range want {
					s, own := got[name], tagged
					if name == "a,b c_v" {
						own = labels
					}
					delete(s.Metric, "__name__")
					if len(s.Values) != 1 || s.Values[0] != value ||
						s.Timestamps[0] != now.UnixMilli() || !maps.Equal(s.Metric, own) {
						return fmt.Errorf("%s is %+v, want %v with %v", name, s, value, own)
					}
				}
				return nil
			})
		})
	}
	f("version 2", version2, "")
	f("version 1", "version: 1, database: telemetry", "telemetry")
}

// Goal: an outage of VictoriaMetrics under load costs nothing: each point is there once, the ledger is exact,
// and fresh points arrive soon after it answers again. Method: a point each millisecond of the points' own
// time, so that one that lacks and one that came twice are both seen; the server ends, points wait on disk,
// and it starts on the same files.
func TestVictoriaMetricsOutage(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	v := newVictoria(t, lab)
	v.start()
	g := start(t, lab, "run", "-c", configureVictoria(t, lab, v, version2))
	g.ready()
	base := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	load := newNumbered(t, lab, func(n int) string {
		return fmt.Sprintf("outage v=%di %d", n, base.Add(time.Duration(n)*time.Millisecond).UnixNano())
	})
	g.steers()
	v.stop(syscall.SIGTERM)
	g.waits(500)
	v.start()
	load.arrives("VictoriaMetrics answered", func(n int) (bool, error) {
		body, err := v.ask("/internal/force_flush", nil)
		if err == nil {
			// In seconds; each point is alone in its millisecond.
			at := fmt.Sprintf("%.3f", float64(base.UnixMilli()+int64(n))/1e3)
			body, err = v.ask("/api/v1/export",
				url.Values{"match[]": {"outage_v"}, "start": {at}, "end": {at}})
		}
		return body != "", err
	})
	sent := int(load.stop())
	s := g.emptied(uint64(sent))
	if s.Ledger.Written != uint64(sent) || s.Ledger.Residue != 0 || s.Sinks[0].Points.Residue != 0 ||
		len(s.Ledger.Dropped)+len(s.Ledger.Rejected) > 0 {
		t.Fatalf("%d points sent: %+v", sent, s.Ledger)
	}
	eventually(t, "all points are seen", func() error {
		got, err := v.export("outage_v")
		if err != nil {
			return err
		}
		stamps := slices.Sorted(slices.Values(got["outage_v"].Timestamps))
		if len(stamps) != sent {
			return fmt.Errorf("%d points sent, %d values in the database", sent, len(stamps))
		}
		for n, stamp := range stamps {
			if want := base.UnixMilli() + int64(n); stamp != want {
				return fmt.Errorf("point %d has the time %d, want %d", n, stamp, want)
			}
		}
		return nil
	})
	t.Logf("%d points, %d by the spool", sent, s.Sinks[0].Spool.Replayed)
}
