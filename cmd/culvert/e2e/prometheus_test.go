package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// watchTime is how long TestPrometheusScrapes has Prometheus watch a gateway under load.
const watchTime = "CULVERT_PROMETHEUS_TIME"

// scrapeInterval is Prometheus' here, in seconds, and the interval at which it evaluates its rules.
const scrapeInterval = 1

// prometheus is a real Prometheus in the gateway's namespace that scrapes the gateway and has the alert rules
// that are shipped.
type prometheus struct {
	t      *testing.T
	g      *gateway
	output *lockedBuffer
}

const prometheusAddress = "127.0.0.1:9491"

func startPrometheus(t *testing.T, g *gateway, arguments ...string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile("../../../deploy/prometheus/culvert.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "culvert.rules.yml", string(rules))
	config := write(t, dir, "prometheus.yml", fmt.Sprintf(
		`global: {scrape_interval: %[1]ds, scrape_timeout: %[1]ds, evaluation_interval: %[1]ds}
rule_files: [culvert.rules.yml]
scrape_configs:
  - job_name: culvert
    static_configs: [{targets: ["127.0.0.1:9490"]}]
`, scrapeInterval))
	arguments = append(arguments, "--config.file="+config, "--storage.tsdb.path="+dir+"/tsdb",
		"--web.listen-address="+prometheusAddress)
	command := exec.Command("prometheus", arguments...)
	p := &prometheus{t: t, g: g, output: &lockedBuffer{}}
	command.Stdout, command.Stderr = p.output, p.output
	command.Dir = dir
	if err := g.lab.Gateway.Do(command.Start); err != nil {
		t.Fatalf("start prometheus: %v", err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("prometheus' output:\n%s", p.output)
		}
	})
	return p
}

// ask reads what Prometheus answers at a path of its API.
func (p *prometheus) ask(path string, answer any) error {
	response, err := p.g.client.Get("http://" + prometheusAddress + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(answer)
}

// query is the value of an expression whose result is one number.
func (p *prometheus) query(expression string) (float64, error) {
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := p.ask("query?query="+url.QueryEscape(expression), &answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("%s has %d results", expression, len(answer.Data.Result))
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	return strconv.ParseFloat(text, 64)
}

// evaluated checks that every alert that is shipped was evaluated, without an error, and returns how many
// there are and the names of those that hold or fire.
func (p *prometheus) evaluated() (rules int, active []string, err error) {
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, State, Health, LastError string
					LastEvaluation                 time.Time
				}
			}
		}
	}
	if err := p.ask("rules", &answer); err != nil {
		return 0, nil, err
	}
	for _, group := range answer.Data.Groups {
		for _, r := range group.Rules {
			rules++
			if r.Health != "ok" || r.LastEvaluation.IsZero() {
				return 0, nil, fmt.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
			if r.State != "inactive" {
				active = append(active, r.Name+" "+r.State)
			}
		}
	}
	return rules, active, nil
}

// scrapes are the durations of all scrapes so far, in order of their length; up tells whether all went well.
func (p *prometheus) scrapes() (took []float64, up bool, err error) {
	values := func(metric string) (all []float64) {
		var answer struct {
			Data struct{ Result []struct{ Values [][2]any } }
		}
		if err = errors.Join(err, p.ask("query?query="+url.QueryEscape(metric+"[1h]"), &answer)); err != nil {
			return nil
		}
		for _, result := range answer.Data.Result {
			for _, v := range result.Values {
				text, _ := v[1].(string)
				n, bad := strconv.ParseFloat(text, 64)
				err, all = errors.Join(err, bad), append(all, n)
			}
		}
		return all
	}
	ups := values("up")
	up = len(ups) > 0 && !slices.Contains(ups, 0)
	took = values("scrape_duration_seconds")
	slices.Sort(took)
	return took, up, err
}

// Goal: Prometheus takes what the gateway exposes under load, at every scrape and without a warning, classic
// histograms as well as native ones, stores what the gateway said, and evaluates the alert rules that are
// shipped, of which none holds. Method: Debian's, with and without native histograms; some scrapes each, or
// for as long as the environment says: CULVERT_PROMETHEUS_TIME=1m. It is no TestPriv…, since no other kernel
// makes a difference to Prometheus.
func TestPrometheusScrapes(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("prometheus"); err != nil {
		testenv.Skip(t, "prometheus is not installed")
	}
	watch := 4 * time.Second
	if text := os.Getenv(watchTime); text != "" {
		var err error
		if watch, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", watchTime, err)
		}
	}
	const end = `culvert_stage_seconds%s{stage="end_to_end"}`
	for name, c := range map[string]struct {
		arguments       []string
		count, quantile string
	}{
		"classic": {nil, fmt.Sprintf(end, "_count"),
			`histogram_quantile(0.5, ` + fmt.Sprintf(end, "_bucket") + `)`},
		"native": {[]string{"--enable-feature=native-histograms"},
			`histogram_count(` + fmt.Sprintf(end, "") + `)`,
			`histogram_quantile(0.5, ` + fmt.Sprintf(end, "") + `)`},
	} {
		t.Run(name, func(t *testing.T) { prometheusWatches(t, watch, c.arguments, c.count, c.quantile) })
	}
}

// prometheusWatches is one Prometheus that watches one gateway for so long. count and quantile are
// expressions for the number of points that were written and half their latency.
func prometheusWatches(t *testing.T, watch time.Duration, arguments []string, count, quantile string) {
	lab := testenv.NewLab(t, 1)
	sink, _ := checkingSink(t, lab, fakesink.Config{})
	g := start(t, lab, "run", "-c", configure(t, lab, sink, ""))
	g.ready()
	p := startPrometheus(t, g, arguments...)
	eventually(t, "the first scrape", func() error { _, err := p.query("up == 1"); return err })
	sent := load(t, lab, loadgen.Config{Rate: 10_000, Duration: watch, PointsPerPacket: 10})
	g.settled(sent.Points)
	equals := func(expression string, want float64) {
		t.Helper()
		eventually(t, expression, func() error {
			got, err := p.query(expression)
			if err == nil && got != want {
				err = fmt.Errorf("it is %v, want %v", got, want)
			}
			return err
		})
	}
	equals("sum(culvert_points_written_total)", float64(sent.Points))
	equals(count, float64(sent.Points))
	equals(`culvert_probe_up{probe="runqueue"}`, 1)
	half, err := p.query(quantile)
	if err != nil || half <= 0 || half > 10 {
		t.Errorf("%s is %v, %v", quantile, half, err)
	}
	took, up, err := p.scrapes()
	if least := int(watch.Seconds()) / scrapeInterval / 2; err != nil || !up || len(took) < least {
		t.Fatalf("%d scrapes, want %d or more, all up: %v; %v", len(took), least, up, err)
	}
	samples, _ := p.query("scrape_samples_post_metric_relabeling")
	at := func(q float64) time.Duration {
		seconds := took[int(q*float64(len(took)-1))]
		return time.Duration(seconds * float64(time.Second)).Round(10 * time.Microsecond)
	}
	t.Logf("%d scrapes of %v samples: median %s, nine of ten %s, ninety-nine of a hundred %s, at most %s",
		len(took), samples, at(0.5), at(0.9), at(0.99), at(1))
	rules, active, err := p.evaluated()
	// On a machine that does other work beside, workers do wait for their CPU.
	active = slices.DeleteFunc(active, func(alert string) bool {
		return strings.HasPrefix(alert, "CulvertWorkerStarved")
	})
	if err != nil || rules < 10 || len(active) > 0 {
		t.Errorf("%d rules, active %v: %v", rules, active, err)
	}
	t.Logf("%d alert rules evaluated", rules)
	warning := regexp.MustCompile(`(?m)^.*level=(warn|error).*$`)
	if found := warning.FindAllString(p.output.String(), -1); found != nil {
		t.Errorf("Prometheus warns:\n%s", strings.Join(found, "\n"))
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// appendTo adds text to a file that write made.
func appendTo(t *testing.T, file, text string) {
	t.Helper()
	before, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(before, text...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
