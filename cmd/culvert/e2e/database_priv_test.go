package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// database is a private InfluxDB 1.x in the gateway's namespace.
type database struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	dir     string
	lab     *testenv.Lab
}

// newDatabase makes one that is not running yet.
func newDatabase(t *testing.T, lab *testenv.Lab) *database {
	t.Helper()
	if _, err := exec.LookPath("influxd"); err != nil {
		testenv.Skip(t, "influxd is not installed")
	}
	d := &database{t: t, lab: lab, dir: t.TempDir(), url: "http://127.0.0.1:8086"}
	write(t, d.dir, "influxd.conf", fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:8088"
[meta]
  dir = "%[1]s/meta"
[data]
  dir = "%[1]s/data"
  wal-dir = "%[1]s/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:8086"
  log-enabled = false
`, d.dir))
	return d
}

// inMemory keeps the server's files in memory: what it writes then takes its own time, and not that of the
// machine's disk, whose pauses come from everybody who uses it. Before start.
func (d *database) inMemory() {
	d.t.Helper()
	for _, name := range []string{"meta", "data", "wal"} {
		path := filepath.Join(d.dir, name)
		err := os.Mkdir(path, 0o700)
		if err == nil {
			err = unix.Mount("tmpfs", path, "tmpfs", 0, "size=4g")
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
}

// start runs the server; the database "telemetry" exists when it returns.
func (d *database) start() {
	d.t.Helper()
	d.command = exec.Command("influxd", "-config", filepath.Join(d.dir, "influxd.conf"))
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.command.Stdout, d.command.Stderr = log, log
	if err := d.lab.Gateway.Do(d.command.Start); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(d.stop)
	eventually(d.t, "influxd answers", func() error {
		_, err := d.query("CREATE DATABASE telemetry")
		return err
	})
}

func (d *database) stop() {
	if d.command.ProcessState == nil {
		d.command.Process.Kill()
		d.command.Wait()
	}
}

// row is one row of an answer, by column.
type row map[string]any

// query asks the server, with numbers kept as they stand.
func (d *database) query(text string) ([]row, error) {
	ask := url.Values{"db": {"telemetry"}, "epoch": {"ns"}, "q": {text}}
	response, err := namespaceClient(d.lab).PostForm(d.url+"/query", ask)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%q: %s %s %v", text, response.Status, body, err)
	}
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		return nil, fmt.Errorf("%q: %w in %s", text, err, body)
	}
	var rows []row
	for _, result := range answer.Results {
		if result.Error != "" {
			return nil, fmt.Errorf("%q: %s", text, result.Error)
		}
		for _, series := range result.Series {
			for _, values := range series.Values {
				r := row{}
				for i, column := range series.Columns {
					r[column] = values[i]
				}
				rows = append(rows, r)
			}
		}
	}
	return rows, nil
}

// foreignSender is a program that knows nothing of Culvert: one datagram for each of its arguments.
const foreignSender = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.argv[2:]:
    s.sendto(line.encode(), (sys.argv[1], 8089))
`

// Goal: every kind of value reaches InfluxDB through the gateway and is queried back equal. Method: Python
// sends, InfluxDB 1.x answers.
func TestPrivEveryKindOfValueReachesInfluxDB(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("python3"); err != nil {
		testenv.Skip(t, "python3 is not installed")
	}
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: 8089, tags: {site: "ber lin"}, source_tag: sender}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry, uint: int}]
`, d.url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	lines := []string{
		`a\,b\ c,tag\ x=v\=1\,2,ü=é f=1.5,neg=-2.25e-3,i=-42i,big=9223372036854775807i,` +
			`u=42u,t=true,F=False 1000`,
		"text,k=1 s=\"with \\\"quotes\\\", commas, = and \\\\ back\"," +
			"multi=\"two\nlines\",utf=\"日本語 ✓\",empty=\"\" 2000",
		`m v=1 3000` + "\n# a comment\n\n" + `m v=2 4000` + "\r\n" + `m v=3`,
		`nan f=NaN,ok=1 5000`,
	}
	err := lab.Sender.Do(func() error {
		arguments := append([]string{"-c", foreignSender, lab.GatewayIPv4.String()}, lines...)
		out, err := exec.Command("python3", arguments...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := g.settled(6)
	if s.Ledger.Written != 6 {
		t.Fatalf("%+v", s.Ledger)
	}
	f := func(query, column string, want any) {
		t.Helper()
		rows, err := d.query(query)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %d rows, %v", query, len(rows), err)
		}
		if got := rows[0][column]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: %s = %v, want %v", query, column, got, want)
		}
	}
	first := `SELECT * FROM "a,b c"`
	f(first, "time", 1000)
	f(first, "tag x", "v=1,2")
	f(first, "ü", "é")
	f(first, "f", 1.5)
	f(first, "neg", -0.00225)
	f(first, "i", -42)
	f(first, "big", int64(9223372036854775807))
	f(first, "u", 42)
	f(first, "t", true)
	f(first, "F", false)
	f(first, "site", "ber lin")
	f(first, "sender", lab.SenderIPv4)
	text := `SELECT * FROM "text"`
	f(text, "s", `with "quotes", commas, = and \ back`)
	f(text, "multi", "two\nlines")
	f(text, "utf", "日本語 ✓")
	f(text, "empty", "")
	f(`SELECT count(v) FROM m`, "count", 3)
	f(`SELECT v FROM m WHERE time > 1600000000000000000`, "v", 3)
	f(`SELECT * FROM "nan"`, "ok", 1)
}

// Goal: what people have at hand brings points in, whole datagrams steered and fragmented ones by the slow
// path. Method: netcat sends a file of one datagram and one that must be fragmented, the shell a line, over
// the veth pair; InfluxDB is asked.
func TestPrivNetcatReachesInfluxDB(t *testing.T) {
	need(t)
	for _, program := range []string{"nc", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Skip(t, program+" is not installed")
		}
	}
	lab := testenv.NewLab(t, 1)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configure(t, lab, d.url, ""))
	g.ready()
	text := func(name string, points int) string {
		var b strings.Builder
		for i := range points {
			fmt.Fprintf(&b, "%s,line=%d v=%di,note=\"a, b\" %d\n", name, i, i, 1000+i)
		}
		return write(t, t.TempDir(), name, b.String())
	}
	err := lab.Sender.Do(func() error {
		for _, command := range []string{
			"nc -u -w 1 $0 8089 <" + text("whole", 20),
			"nc -u -w 1 $0 8089 <" + text("pieces", 150),
			"echo 'shell v=1 1000' >/dev/udp/$0/8089",
		} {
			out, err := exec.Command("bash", "-c", command, lab.GatewayIPv4.String()).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", command, err, out)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := g.settled(171)
	if s.Ledger.Written != 171 {
		t.Fatalf("%+v", s.Ledger)
	}
	for name, sum := range map[string]int{"whole": 190, "pieces": 11175, "shell": 1} {
		rows, err := d.query("SELECT sum(v) FROM " + name)
		if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["sum"]) != strconv.Itoa(sum) {
			t.Errorf("%s: %v, want %d, %v", name, rows, sum, err)
		}
	}
	if v := interfaceOf(t, s, lab.GatewayInterface).Verdicts; v["redirected"] < 2 || v["fragment"] < 2 {
		t.Errorf("not both ways were taken: %v", v)
	}
}

// Goal: a gateway whose InfluxDB is absent starts, says that it is not ready, and recovers without loss of
// what came after. Method: start the gateway first, the server later.
func TestPrivInfluxDBComesLater(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	d := newDatabase(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, d.url, ""))
	eventually(t, "not ready", func() error {
		code, body, err := g.get("/health/ready")
		if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, "8086") {
			return fmt.Errorf("%d %s %v", code, body, err)
		}
		return nil
	})
	if code, body, err := g.get("/health/live"); err != nil || code != http.StatusOK {
		t.Fatalf("not live: %d %s %v", code, body, err)
	}
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprintf(conn, "early v=1 1")
	d.start()
	g.ready()
	fmt.Fprintf(conn, "late v=1 1")
	s := g.settled(2)
	if s.Ledger.Written == 0 || s.Ledger.Written+s.Ledger.Dropped["undelivered"] != 2 {
		t.Fatalf("%+v", s.Ledger)
	}
	if rows, err := d.query("SELECT * FROM late"); err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
}
