package influx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// database is a private InfluxDB 1.x, on ports of its own and in a folder that goes with the test.
type database struct {
	t       testing.TB
	address string
	folder  string
	command *exec.Cmd
	log     *bytes.Buffer
}

// newDatabase starts an InfluxDB with one empty database d.
func newDatabase(t testing.TB) *database {
	t.Helper()
	if _, err := exec.LookPath("influxd"); err != nil {
		testenv.Skip(t, "influxd is missing (install the package influxdb)")
	}
	d := &database{t: t, folder: t.TempDir(), address: freePort(t)}
	settings := fmt.Sprintf(`reporting-enabled = false
bind-address = %q
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = %q
  log-enabled = false
[ifql]
  enabled = false
[logging]
  level = "error"
`, freePort(t), filepath.Join(d.folder, "meta"), filepath.Join(d.folder, "points"),
		filepath.Join(d.folder, "wal"), d.address)
	if err := os.WriteFile(filepath.Join(d.folder, "influxdb.conf"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.stop)
	d.query("CREATE DATABASE d")
	return d
}

// freePort is an address on which nobody listens now.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// start runs the server and waits until it answers.
func (d *database) start() {
	d.t.Helper()
	d.log = new(bytes.Buffer)
	d.command = exec.Command("influxd", "-config", filepath.Join(d.folder, "influxdb.conf"))
	d.command.Stdout, d.command.Stderr = d.log, d.log
	if err := d.command.Start(); err != nil {
		d.t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Second); ; {
		answer, err := http.Get("http://" + d.address + "/ping")
		if err == nil {
			answer.Body.Close()
			return
		}
		if time.Now().After(end) {
			d.stop()
			d.t.Fatalf("influxd does not answer: %v\n%s", err, d.log)
		}
		time.Sleep(20 * time.Millisecond) // no test's result depends on it: it is how often we look
	}
}

// stop kills the server.
func (d *database) stop() {
	if d.command != nil {
		_ = d.command.Process.Kill()
		_ = d.command.Wait()
		d.command = nil
	}
}

// query runs InfluxQL and returns the value of the first row's second column, if there is one.
func (d *database) query(q string) any {
	d.t.Helper()
	answer, err := http.PostForm("http://"+d.address+"/query", url.Values{"q": {q}, "db": {"d"}})
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	var result struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		d.t.Fatal(err)
	}
	if len(result.Results) == 0 || result.Results[0].Error != "" {
		d.t.Fatalf("%s: %+v", q, result)
	}
	if series := result.Results[0].Series; len(series) > 0 && len(series[0].Values) > 0 {
		return series[0].Values[0][1]
	}
	return nil
}

// count is how many points a measurement has.
func (d *database) count(measurement, field string) int {
	d.t.Helper()
	n, _ := d.query(fmt.Sprintf("SELECT count(%q) FROM %q", field, measurement)).(float64)
	return int(n)
}

// newDatabaseRig is a writer into d, by Target.
func newDatabaseRig(t *testing.T, d *database, name string, ring bool, change func(*Config)) *rig {
	t.Helper()
	u := &url.URL{Scheme: "http", Host: d.address}
	config, err := Target(TargetConfig{URL: u, Database: name})
	if err != nil {
		t.Fatal(err)
	}
	policy := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	config.Address = netip.MustParseAddrPort(d.address)
	config.Connections, config.Timeout, config.Retry = policy.Connections, policy.Timeout, policy.Retry
	if change != nil {
		change(&config)
	}
	return newRig(t, ring, 1<<20, config)
}

// Goal: what a real InfluxDB 1.x stores is what the outcomes say. Method: each way of refusing, then a query.
func TestDatabase(t *testing.T) {
	d := newDatabase(t)
	overBoth(t, func(t *testing.T, ring bool) {
		measurement := "m" + filepath.Base(t.Name())
		// All stamps lie in one shard: each has field types of its own.
		line := func(value string, stamp int) string {
			return fmt.Sprintf("%s v=%s %d", measurement, value, 1_000_000_000_000_000_000+stamp)
		}
		r := newDatabaseRig(t, d, "d", ring, nil)
		// 100 000 points in batches of 5000, several under way.
		const batches, each = 20, 5000
		for sent, done := 0, 0; done < batches; {
			for ; sent < batches && r.pool.Free() > 0; sent++ {
				lines := make([]string, each)
				for i := range lines {
					lines[i] = line(fmt.Sprintf("%d.5", i), 1000+sent*each+i)
				}
				r.submit(lines...)
			}
			r.expect(each, 0, 0, ReasonNone, 204)
			done++
		}
		if n := d.count(measurement, "v"); n != batches*each {
			t.Fatalf("the database has %d points, want %d", n, batches*each)
		}
		// A field of another type than it has: that point alone is refused.
		r.submit(line("\"text\"", 1), line("7", 2), line("8", 3))
		r.expect(2, 1, 0, ReasonPartial, 204)
		if told := r.writer.Refusals(); len(told) != 1 || told[0].Line != line("\"text\"", 1) {
			t.Fatalf("refused: %+v", told)
		}
		r.writer.RefusalsTaken()
		if !strings.Contains(r.writer.LastReject(), "field type conflict") {
			t.Fatalf("last reject %q", r.writer.LastReject())
		}
		// An unsigned value, which 1.x cannot read: beside good ones, and alone.
		r.submit(line("7u", 4), line("9", 5), line("8u", 6), line("10", 7))
		r.expect(2, 2, 0, ReasonPartial, 400)
		r.submit(line("7u", 8), line("8u", 9))
		r.expect(0, 2, 0, ReasonRefused, 400)
		var lines []string
		for _, refusal := range r.writer.Refusals() {
			lines = append(lines, refusal.Line)
			if !strings.Contains(refusal.Words, "invalid number") {
				t.Errorf("%+v", refusal)
			}
		}
		want := []string{line("7u", 4), line("8u", 6), line("7u", 8), line("8u", 9)}
		if !slices.Equal(lines, want) {
			t.Fatalf("refused are %q, want %q", lines, want)
		}
		r.writer.RefusalsTaken()
		if n := d.count(measurement, "v"); n != batches*each+4 {
			t.Fatalf("the database has %d points, want %d", n, batches*each+4)
		}
		// The same batch twice changes nothing.
		r.submit(line("7", 2), line("8", 3))
		r.expect(2, 0, 0, ReasonNone, 204)
		if n := d.count(measurement, "v"); n != batches*each+4 {
			t.Fatalf("after a repetition the database has %d points, want %d", n, batches*each+4)
		}
		// Texts with everything in them come back as they were.
		r.submit(measurement + `,t\ ag=a\,b\=c s="quote \" backslash \\ line` + "\n" +
			`feed, ünï" 1000000000000000010`)
		r.expect(1, 0, 0, ReasonNone, 204)
		text := "quote \" backslash \\ line\nfeed, ünï"
		if got := d.query(fmt.Sprintf(`SELECT s FROM %q WHERE "t ag"='a,b=c'`, measurement)); got != text {
			t.Fatalf("the text came back as %q, want %q", got, text)
		}
	})
}

// Goal: a database that is missing is waited for, and what waited is written once it is there.
func TestMissingDatabase(t *testing.T) {
	d := newDatabase(t)
	overBoth(t, func(t *testing.T, ring bool) {
		name := "late" + filepath.Base(t.Name())
		r := newDatabaseRig(t, d, name, ring, nil)
		r.submit("m v=1 1", "m v=2 2")
		r.until("hold", func() bool { return r.writer.Stats().Requests["404"] > 0 })
		if r.writer.Up() || !strings.Contains(r.writer.LastError(), "database not found") {
			t.Fatalf("up %t, last error %q", r.writer.Up(), r.writer.LastError())
		}
		d.query("CREATE DATABASE " + name)
		r.skew += 2 * int64(r.writer.config.Retry.Max)
		r.expect(2, 0, 0, ReasonNone, 204)
	})
}

// Goal: a database that asks for a name and a password has them from a token `name:password`; what a wrong
// one brings is held. Method: an InfluxDB that asks for users, as the distribution has it.
func TestDatabaseAsksForAPassword(t *testing.T) {
	d := newDatabase(t)
	d.query("CREATE USER writer WITH PASSWORD 'right one' WITH ALL PRIVILEGES")
	d.stop()
	t.Setenv("INFLUXDB_HTTP_AUTH_ENABLED", "true")
	d.start()
	value := func(token string) string {
		return Authorization(&TargetConfig{URL: &url.URL{}, Database: "d", Token: token})
	}
	overBoth(t, func(t *testing.T, ring bool) {
		r := newDatabaseRig(t, d, "d", ring, func(c *Config) { c.Authorization = value("writer:wrong one") })
		r.submit("m v=1 1")
		r.until("hold", func() bool { return r.writer.Stats().Requests["401"] > 0 })
		if err := r.writer.Reauthorize(value("writer:right one")); err != nil {
			t.Fatal(err)
		}
		r.skew += 2 * int64(r.writer.config.Retry.Max)
		r.expect(1, 0, 0, ReasonNone, 204)
	})
}

// Goal: a database that is killed and started again loses nothing. Method: kill it under load, start it,
// count. Each database is killed once: killed in the middle of a write for the second time, InfluxDB 1.6.7
// finds the record that the first time tore ("snappy: corrupt input") and drops all that it had acknowledged
// behind it.
func TestDatabaseIsKilled(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		d := newDatabase(t)
		measurement := "k" + filepath.Base(t.Name())
		r := newDatabaseRig(t, d, "d", ring, func(c *Config) {
			c.Retry.Attempts, c.Retry.Max = 100, 100*time.Millisecond
		})
		// The age budget must outlast the restart, however slow the machine is.
		r.writer.age = int64(time.Hour)
		const batches, each = 40, 1000
		for sent, done := 0, 0; done < batches; {
			for ; sent < batches && r.pool.Free() > 0; sent++ {
				lines := make([]string, each)
				for i := range lines {
					lines[i] = fmt.Sprintf("%s v=%di %d", measurement, i, 1+sent*each+i)
				}
				r.submit(lines...)
				r.turn()
			}
			if done == batches/4 {
				d.stop()
				r.until("loss", func() bool { return !r.writer.Up() })
				d.start()
			}
			r.expect(each, 0, 0, ReasonNone, 204)
			done++
		}
		if n := d.count(measurement, "v"); n != batches*each {
			t.Fatalf("the database has %d points, want %d", n, batches*each)
		}
	})
}
