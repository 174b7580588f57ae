package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// database is a private InfluxDB 1.x.
type database struct {
	t   *testing.T
	url string
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	program, err := exec.LookPath("influxd")
	if err != nil {
		testenv.Skip(t, "influxd is missing (install the package influxdb)")
	}
	dir := t.TempDir()
	address := freePort(t)
	settings := fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
  dir = "%[2]s/meta"
[data]
  dir = "%[2]s/data"
  wal-dir = "%[2]s/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = %[3]q
  log-enabled = false
`, freePort(t), dir, address)
	file := filepath.Join(dir, "influxdb.conf")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-config", file)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	d := &database{t: t, url: "http://" + address}
	poll(t, "influxd answers", func() error {
		answer, err := http.Get(d.url + "/ping")
		if err == nil {
			answer.Body.Close()
		}
		return err
	})
	return d
}

// query returns the rows of the first series, with the names of their columns.
func (d *database) query(q string) (columns []string, rows [][]any) {
	d.t.Helper()
	answer, err := http.PostForm(d.url+"/query", url.Values{"q": {q}, "db": {"d"}, "epoch": {"ns"}})
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	decoder := json.NewDecoder(answer.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		d.t.Fatal(err)
	}
	if len(body.Results) != 1 || body.Results[0].Error != "" {
		d.t.Fatalf("%s: %+v", q, body)
	}
	if len(body.Results[0].Series) == 0 {
		return nil, nil
	}
	return body.Results[0].Series[0].Columns, body.Results[0].Series[0].Values
}

// Goal: each change is a point that a real InfluxDB gives back as it is described, also what came before the
// database was there.
func TestRealInfluxDB(t *testing.T) {
	d := newDatabase(t)
	n := start(t, nil, Config{Name: "history", Type: "influxdb", First: time.Millisecond,
		URLs: []string{d.url + "/write?db=d"}})
	on := alert("Hot", 1, true, "history")
	on.Labels["odd tag"] = "x, y=z"
	on.Annotations["note"] = "a \"quoted\"\ntext"
	off := on
	off.Firing, off.Time, off.Reason = false, on.Time.Add(time.Minute), "evicted"
	n.Send(on)
	n.Send(off)
	waitFor(t, n, func(s *Stats) bool { return s.Retries > 1 }) // 404: there is no database yet.
	d.query("CREATE DATABASE d")
	finish(t, n)
	if s := n.Stats()[0]; s.Delivered != 2 || s.Lost() != 0 {
		t.Fatalf("counted %+v", s)
	}
	columns, rows := d.query("SELECT * FROM culvert_alert")
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, want := range []map[string]string{
		{"time": "1700000000000000001", "state": "firing", "firing": "true", "reason": "<nil>"},
		{"time": "1700000060000000001", "state": "resolved", "firing": "false", "reason": "evicted"},
	} {
		for name, value := range map[string]string{"alertname": "Hot", "machine": "m1", "odd tag": "x, y=z",
			"severity": "critical", "since": "1700000000000000001", "fingerprint": "0000000000000001",
			"annotation_summary": "it is hot", "annotation_note": `a "quoted" text`} {
			want[name] = value
		}
		if len(columns) != len(want) {
			t.Errorf("columns %v, want %d", columns, len(want))
		}
		for j, name := range columns {
			if got := fmt.Sprint(rows[i][j]); got != want[name] {
				t.Errorf("row %d: %s is %q, want %q", i, name, got, want[name])
			}
		}
	}
}

// Goal: a point that the database refuses takes no other with it.
func TestRealInfluxDBRefuses(t *testing.T) {
	d := newDatabase(t)
	d.query("CREATE DATABASE d")
	answer, err := http.Post(d.url+"/write?db=d", "text/plain",
		strings.NewReader("culvert_alert annotation_n=1 1700000000000000000\n"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	n := start(t, nil, Config{Name: "history", Type: "influxdb", URLs: []string{d.url + "/write?db=d"}})
	for i := range 10 {
		a := alert("Hot", i, true, "history")
		if i == 5 {
			a.Annotations = map[string]string{"n": "a text where a number is"}
		}
		n.Send(a)
	}
	finish(t, n)
	if s := n.Stats()[0]; s.Delivered != 9 || s.Refused != 1 {
		t.Fatalf("counted %+v", s)
	}
	if _, rows := d.query("SELECT firing FROM culvert_alert"); len(rows) != 10 && len(rows) != 9 {
		t.Fatalf("%d rows", len(rows))
	}
}
