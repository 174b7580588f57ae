package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// prometheus is a real Prometheus in the gateway's namespace that scrapes the gateway every two seconds: an
// emulated machine takes most of one.
type prometheus struct {
	t      *testing.T
	g      *gateway
	output *lockedBuffer
}

const prometheusAddress = "127.0.0.1:9491"

func startPrometheus(t *testing.T, g *gateway, arguments ...string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	config := write(t, dir, "prometheus.yml", `global: {scrape_interval: 4s, scrape_timeout: 4s}
scrape_configs:
  - job_name: culvert
    static_configs: [{targets: ["127.0.0.1:9490"]}]
`)
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

// query is the value of an expression whose result is one number.
func (p *prometheus) query(expression string) (float64, error) {
	response, err := p.g.client.Get("http://" + prometheusAddress + "/api/v1/query?query=" +
		url.QueryEscape(expression))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
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

// Goal: Prometheus takes what the gateway exposes, without a warning, classic histograms as well as native
// ones, and what it stores is what the gateway said. Method: Debian's, with and without native histograms,
// some scrapes each. It is no TestPriv…, since no other kernel makes a difference to Prometheus.
func TestPrometheusScrapes(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("prometheus"); err != nil {
		testenv.Skip(t, "prometheus is not installed")
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
		t.Run(name, func(t *testing.T) {
			lab := testenv.NewLab(t, 1)
			sink := newRecorder(t, lab)
			g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
			g.ready()
			p := startPrometheus(t, g, c.arguments...)
			conn := udpSender(t, lab, lab.GatewayIPv4)
			const points = 50
			for range points {
				if _, err := conn.Write([]byte("motor v=1")); err != nil {
					t.Fatal(err)
				}
			}
			g.settled(points)
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
			equals("sum(culvert_points_written_total)", points)
			equals(c.count, points)
			equals(`culvert_probe_up{probe="runqueue"}`, 1)
			half, err := p.query(c.quantile)
			if err != nil || half <= 0 || half > 10 {
				t.Errorf("%s is %v, %v", c.quantile, half, err)
			}
			equals(`count_over_time(up[1m]) >= bool 3`, 1)
			equals(`min_over_time(up[1m])`, 1)
			took, _ := p.query("max_over_time(scrape_duration_seconds[1m])")
			samples, _ := p.query("scrape_samples_post_metric_relabeling")
			t.Logf("%v samples, a scrape took %v at most", samples,
				time.Duration(took*float64(time.Second)))
			warning := regexp.MustCompile(`(?m)^.*level=(warn|error).*$`)
			if found := warning.FindAllString(p.output.String(), -1); found != nil {
				t.Errorf("Prometheus warns:\n%s", strings.Join(found, "\n"))
			}
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		})
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
