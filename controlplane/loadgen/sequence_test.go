package loadgen

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"culvert/controlplane/fakesink"
)

// Goal: what the sender's report says of a flow less what the sink has seen of it is exactly what was lost,
// also when packets come twice and in another order. Method: lose, repeat and exchange packets between the
// two.
func TestSequenceTellsTheLoss(t *testing.T) {
	const points, flows = 3, 5
	for _, template := range []string{"", "escapes"} {
		r := newReceiver(t, "127.0.0.1")
		report := run(t, Config{
			To: []netip.AddrPort{r.address()}, Count: 6000, PointsPerPacket: points, Flows: flows,
			Sequence: true, Rate: 1e6, Template: template,
		})
		lines, senders := r.lines(report.Packets)
		lost := map[netip.AddrPort]uint64{}
		var arriving []string
		for i, sender := range senders {
			packet := strings.Join(lines[i*points:(i+1)*points], "\n") + "\n"
			switch {
			case i%10 == 3:
				lost[sender] += points
			case i%10 == 5:
				arriving = append(arriving, packet, packet)
			default:
				arriving = append(arriving, packet)
			}
		}
		for i := 9; i+1 < len(arriving); i += 10 {
			arriving[i], arriving[i+1] = arriving[i+1], arriving[i]
		}
		sink, err := fakesink.New(fakesink.Config{CountOnly: true, Sequence: true})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequest("POST", "/write?db=x", strings.NewReader(strings.Join(arriving, "")))
		answer := httptest.NewRecorder()
		if sink.ServeHTTP(answer, request); answer.Code != http.StatusNoContent {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		seen := sink.Stats().Sequences
		if len(report.FlowPoints) != flows || len(lost) != flows || seen.Unnumbered != 0 ||
			seen.Duplicates != report.Packets/10*points {
			t.Fatalf("%+v: %+v, lost %v", report, seen, lost)
		}
		// The flows' senders are told by nothing but what they sent; as sets the two must agree.
		for flow, sent := range report.FlowPoints {
			loss := sent - seen.Flows[flow].Seen
			sender := senderOf(t, lines, senders, points, flow)
			if loss != lost[sender] {
				t.Fatalf("flow %d: %d lost by the numbers, %d in truth", flow, loss, lost[sender])
			}
		}
	}
}

// senderOf finds the sender of a flow by one of its lines.
func senderOf(t *testing.T, lines []string, senders []netip.AddrPort, points, flow int) netip.AddrPort {
	t.Helper()
	for i, line := range lines {
		if strings.Contains(line, ",seq=1000"+string(rune('0'+flow))) {
			return senders[i/points]
		}
	}
	t.Fatalf("no line of flow %d", flow)
	return netip.AddrPort{}
}
