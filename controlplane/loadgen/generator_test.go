package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// receiver collects datagrams on loopback.
type receiver struct {
	t    testing.TB
	conn *net.UDPConn
}

func newReceiver(t testing.TB, host string) *receiver {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	// Enough for what the tests send before anything is read.
	conn.SetReadBuffer(16 << 20)
	t.Cleanup(func() { conn.Close() })
	return &receiver{t, conn}
}

func (r *receiver) address() netip.AddrPort { return r.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// lines reads this many packets and returns their lines and, for each packet, its sender.
func (r *receiver) lines(packets uint64) (lines []string, senders []netip.AddrPort) {
	r.t.Helper()
	into := make([]byte, 1<<16)
	r.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for i := range packets {
		n, from, err := r.conn.ReadFromUDPAddrPort(into)
		if err != nil {
			r.t.Fatalf("packet %d of %d: %v", i+1, packets, err)
		}
		text := string(into[:n])
		if !strings.HasSuffix(text, "\n") {
			r.t.Fatalf("packet %d does not end with a line feed: %q", i, text)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
		senders = append(senders, from)
	}
	return lines, senders
}

func run(t testing.TB, config Config) Report {
	t.Helper()
	report, err := Run(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var line = regexp.MustCompile(`^plant,line=l(\d\d),sensor=s(\d+) temperature=(\d\d\.\d\d),` +
	`pressure=\d{3}\.\d{3},rpm=\d{4}i,ok=[tf],state="(?:idle|busy|stop|wait)" (\d+)$`)

// Goal: what the report says is what arrives: packets, points, bytes, violations, series and times, and no
// two points of a series have the same time. Method: parse every line, in each precision.
func TestReportIsWhatArrives(t *testing.T) {
	for precision, digits := range map[string]int{"ns": 19, "us": 16, "ms": 13, "s": 10} {
		r := newReceiver(t, "127.0.0.1")
		report := run(t, Config{
			To: []netip.AddrPort{r.address()}, Flows: 3, PointsPerPacket: 7, Series: 100, Count: 5003,
			Precision: precision, AlertShare: 0.1, Seed: 7, Rate: 2e5,
		})
		lines, senders := r.lines(report.Packets)
		bytes, violations := 0, uint64(0)
		seen, flows := map[string]bool{}, map[string]netip.AddrPort{}
		for i, text := range lines {
			m := line.FindStringSubmatch(text)
			if m == nil || len(m[4]) != digits {
				t.Fatalf("%s: line %q", precision, text)
			}
			if key := m[2] + " " + m[4]; seen[key] {
				t.Fatalf("%s: twice the same series and time: %s", precision, text)
			} else {
				seen[key] = true
			}
			if temperature, _ := strconv.ParseFloat(m[3], 64); temperature > 95 {
				violations++
			}
			sender := senders[i/7]
			if other, ok := flows[m[2]]; ok && other != sender {
				t.Fatalf("series %s leaves by %v and %v", m[2], other, sender)
			}
			flows[m[2]] = sender
			bytes += len(text) + 1
		}
		if report.Points != 5003 || len(lines) != 5003 || report.Bytes != uint64(bytes) || len(flows) != 100 {
			t.Fatalf("%s: %d lines, %d bytes, %d series: %+v", precision, len(lines), bytes, len(flows),
				report)
		}
		if report.Violations != violations || violations < 300 || violations > 700 {
			t.Fatalf("%s: %d violations, the report says %d", precision, violations, report.Violations)
		}
		slices.SortFunc(senders, netip.AddrPort.Compare)
		if n := len(slices.Compact(senders)); n != 3 {
			t.Fatalf("%s: %d senders, want 3", precision, n)
		}
		if report.Interrupted || len(report.Errors) > 0 || report.FirstTime == 0 ||
			report.LastTime < report.FirstTime {
			t.Fatalf("%s: %+v", precision, report)
		}
	}
}

// Goal: in nanoseconds the times of all points increase strictly. Method: one flow, so that order is kept.
func TestTimesIncrease(t *testing.T) {
	r := newReceiver(t, "::1")
	report := run(t, Config{
		To: []netip.AddrPort{r.address()}, Flows: 1, PointsPerPacket: 10, Series: 3, Count: 5000, Rate: 1e6,
	})
	lines, _ := r.lines(report.Packets)
	last := int64(0)
	for _, text := range lines {
		stamp, err := strconv.ParseInt(text[strings.LastIndexByte(text, ' ')+1:], 10, 64)
		if err != nil || stamp <= last {
			t.Fatalf("%d after %d: %v", stamp, last, err)
		}
		last = stamp
	}
	if last != report.LastTime {
		t.Fatalf("the last time is %d, the report says %d", last, report.LastTime)
	}
}

// Goal: the same seed gives the same values, another one others. Method: no timestamps, compare the texts.
func TestSeed(t *testing.T) {
	var texts []string
	for _, seed := range []uint64{1, 1, 2} {
		r := newReceiver(t, "127.0.0.1")
		report := run(t, Config{
			To: []netip.AddrPort{r.address()}, Count: 100, Series: 10, Flows: 1, NoTimestamps: true,
			Seed: seed, Template: "wide",
		})
		lines, _ := r.lines(report.Packets)
		texts = append(texts, strings.Join(lines, "\n"))
	}
	if texts[0] != texts[1] || texts[0] == texts[2] {
		t.Fatal("seeds do not decide")
	}
	if !strings.HasSuffix(texts[0], `"`) {
		t.Fatalf("a line has a timestamp: %q", texts[0])
	}
}

// Goal: several receivers get equal shares.
func TestSeveralReceivers(t *testing.T) {
	first, second := newReceiver(t, "127.0.0.1"), newReceiver(t, "127.0.0.1")
	report := run(t, Config{
		To: []netip.AddrPort{first.address(), second.address()}, Count: 400, Series: 10, Flows: 4, Rate: 4e4,
	})
	a, _ := first.lines(200)
	b, _ := second.lines(report.Packets - 200)
	if len(a)+len(b) != 400 {
		t.Fatalf("%d and %d lines", len(a), len(b))
	}
}

// Goal: the rate is held when it can be, the end of the schedule is waited for, and a rate that cannot be
// reached is told. No time is asserted but what the schedule itself demands.
func TestRate(t *testing.T) {
	r := newReceiver(t, "127.0.0.1")
	report := run(t, Config{To: []netip.AddrPort{r.address()}, Rate: 1000, Duration: 100 * time.Millisecond})
	if report.Points > 100 || report.Seconds < float64(report.Points)/1000 {
		t.Fatalf("more than the rate: %+v", report)
	}
	report = run(t, Config{To: []netip.AddrPort{r.address()}, Rate: 1e11, Duration: 20 * time.Millisecond})
	if report.Held || report.Points == 0 {
		t.Fatalf("an impossible rate was held: %+v", report)
	}
}

// Goal: the context's end ends the run with a report.
func TestInterrupt(t *testing.T) {
	for _, rate := range []float64{0, 0.1, 1e5} {
		r := newReceiver(t, "127.0.0.1")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan Report)
		go func() {
			report, err := Run(ctx, Config{To: []netip.AddrPort{r.address()}, Rate: rate})
			if err != nil {
				t.Error(err)
			}
			done <- report
		}()
		r.lines(1)
		cancel()
		select {
		case report := <-done:
			if !report.Interrupted || report.Points == 0 {
				t.Fatalf("rate %v: %+v", rate, report)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the run does not end")
		}
	}
}

// Goal: where nobody listens the errors are counted, and packets are still given to the kernel.
func TestNobodyListens(t *testing.T) {
	r := newReceiver(t, "127.0.0.1")
	to := r.address()
	r.conn.Close()
	report := run(t, Config{To: []netip.AddrPort{to}, Count: 200, Series: 1})
	if report.Points != 200 || report.Errors["ECONNREFUSED"] == 0 {
		t.Fatalf("%+v", report)
	}
}

// Goal: a custom template has what it says.
func TestCustomTemplate(t *testing.T) {
	r := newReceiver(t, "127.0.0.1")
	report := run(t, Config{
		To: []netip.AddrPort{r.address()}, Count: 3, Series: 3, Flows: 1, NoTimestamps: true,
		Template: `w,id={series} on={bool},name="{word}"`,
	})
	lines, _ := r.lines(report.Packets)
	for i, text := range lines {
		if !regexp.MustCompile(fmt.Sprintf(`^w,id=%d on=[tf],name="\w{4}"$`, i)).MatchString(text) {
			t.Fatalf("line %d: %q", i, text)
		}
	}
}

// Goal: the gateway's own decoder takes every line of every template.
func TestTemplatesAreLineProtocol(t *testing.T) {
	var d lineproto.Decoder
	var p point.Point
	for _, template := range templates {
		r := newReceiver(t, "127.0.0.1")
		report := run(t, Config{
			To: []netip.AddrPort{r.address()}, Count: 200, PointsPerPacket: 10, Template: template.name,
			AlertShare: 0.5,
		})
		lines, _ := r.lines(report.Packets)
		for _, text := range lines {
			d.Start([]byte(text), lineproto.Nanosecond, &p)
			if outcome := d.Next(&p); outcome != lineproto.OK || !p.HasTime {
				t.Fatalf("%s: %v: %s", outcome, d.Reason(), text)
			}
			if f := p.Field("temperature"); f == nil || f.Kind != point.Float {
				t.Fatalf("no temperature: %s", text)
			}
			if outcome := d.Next(&p); outcome != lineproto.End {
				t.Fatalf("more than one point: %s", text)
			}
		}
	}
}

func TestWrongConfigurations(t *testing.T) {
	to := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8089")}
	f := func(want string, c Config) {
		t.Helper()
		for range 2 {
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		if _, err := Run(context.Background(), c); err == nil {
			t.Errorf("%q: it runs", want)
		}
	}
	f("no receiver", Config{})
	f("lacks an address or a port", Config{To: []netip.AddrPort{{}}})
	f("-1 points per packet", Config{To: to, PointsPerPacket: -1})
	f("-1 series", Config{To: to, Series: -1})
	f("2 flows for 1 series", Config{To: to, Series: 1, Flows: 2})
	f("1 flows for 2 receivers", Config{To: append(to, to...), Flows: 1})
	f("rate -1", Config{To: to, Rate: -1})
	f("alert share 1.1", Config{To: to, AlertShare: 1.1})
	f(`precision "m"`, Config{To: to, Precision: "m"})
	f(`template "nothing"`, Config{To: to, Template: "nothing"})
	f("unknown {x}", Config{To: to, Template: "m v={x}"})
	f("not closed", Config{To: to, Template: "m v={float"})
	f("lacks {series}", Config{To: to, Template: "m v={float}"})
	f("a datagram holds 65507", Config{To: to, PointsPerPacket: 10000})
}

// Goal: sending allocates nothing. Method: the same run with ten times as many points allocates no more.
func TestSendingDoesNotAllocate(t *testing.T) {
	r := newReceiver(t, "127.0.0.1")
	allocations := func(count uint64, c Config) float64 {
		c.To, c.Count = []netip.AddrPort{r.address()}, count
		return testing.AllocsPerRun(3, func() { run(t, c) })
	}
	for _, c := range []Config{{PointsPerPacket: 3, Sequence: true}, {NoSegments: true}} {
		few, many := allocations(1000, c), allocations(20_000, c)
		// Go's runtime itself allocates a little now and then.
		if many > few+10 {
			t.Errorf("%+v: %.0f allocations for 1000 points, %.0f for 20000", c, few, many)
		}
	}
}

// Goal: only packets of one size leave as one, and the last of them may be shorter.
func TestSameSize(t *testing.T) {
	f := func(want int, sizes ...int) {
		t.Helper()
		packets := make([][]byte, len(sizes))
		for i, size := range sizes {
			packets[i] = make([]byte, size)
		}
		if got := sameSize(packets); got != want {
			t.Errorf("%v: %d, want %d", sizes, got, want)
		}
	}
	f(1, 100)
	f(3, 100, 100, 100)
	f(3, 100, 100, 50, 50)
	f(2, 100, 100, 101)
	f(1, 100, 0)
	f(0, 0, 100)
	f(46, slices.Repeat([]int{1400}, 64)...)
	f(64, slices.Repeat([]int{100}, 64)...)
	f(1, 40_000, 40_000)
}
