package dataplane

import (
	"fmt"
	"strings"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// rowLines are lines that go out as they came, and lines of every kind that may not.
var rowLines = []string{
	"m,a=b v=1 1700000000000000001\n", "m,a=b v=1,w=2i 1700000000000000002\n",
	"m v=\"x\ny\" 1700000000000000003\n", "m  v=1 1700000000000000004\n",
	"m v=1  1700000000000000005\n", "m v=1 1700000000000000006 \n",
	"m v=1 1700000000000000007\r\n", "# comment\n", "\n", "  m v=1 1700000000000000008\n", "bad\n",
	"m,a=x\\ y v=1 1700000000000000009\n", "m v=NaN,w=1 1700000000000000010\n",
	"m v=1,v=2 1700000000000000011\n",
	"m v=1u 1700000000000000012\n", "m v=1 0017\n", "m v=1 -17\n",
}

// Goal: a row holds exactly what the encoder would write, line by line in the order they came. Method: random
// payloads through a worker; the same points through the encoder alone.
func TestRowsAreWhatTheEncoderWrites(t *testing.T) {
	w := openWorker(t, nil)
	o := w.lanes[0]
	var random uint32 = 1
	for round := range 300 {
		var text strings.Builder
		for range 1 + round%20 {
			random = random*1664525 + 1013904223
			// Lines that can go out as they came are the usual ones.
			line := rowLines[int(random>>16)%3]
			if random>>30 == 0 {
				line = rowLines[int(random>>16)%len(rowLines)]
			}
			text.WriteString(line)
		}
		payload := text.String()
		if round%3 == 0 {
			payload = strings.TrimSuffix(payload, "\n")
		}
		o.encoder.Uint = lineproto.UintPolicy(round % 3)
		want, points := encodeAll(t, &o.encoder, payload)
		w.eat(&Payload{Bytes: []byte(payload), Arrival: int64(round)}, false)
		if points == 0 {
			continue
		}
		if got := string(o.open.Body()); got != want || o.open.Points() != points {
			t.Fatalf("payload %q gives %d points %q, want %d, %q", payload, o.open.Points(), got, points,
				want)
		}
		o.pool.Release(o.open)
		o.open = nil
	}
}

// encodeAll is what the encoder writes of a payload's points.
func encodeAll(t *testing.T, e *lineproto.Encoder, payload string) (body string, points int) {
	t.Helper()
	var d lineproto.Decoder
	var p point.Point
	var dst []byte
	for d.Start([]byte(payload), lineproto.Nanosecond, &p); ; {
		switch d.Next(&p) {
		case lineproto.End:
			return string(dst), points
		case lineproto.OK:
			var ok bool
			if dst, ok = e.Append(dst, &p); !ok {
				t.Fatalf("the encoder refuses a point of %q", payload)
			}
			points++
		}
	}
}

// Goal: rows end where a batch is full, by points and by bytes, and what finds no batch is dropped, each
// point counted. Method: one long payload into small batches.
func TestRowsFillBatches(t *testing.T) {
	var text strings.Builder
	const lines = 100
	for i := range lines {
		fmt.Fprintf(&text, "m v=%d %d\n", 100+i, 1000+i)
	}
	f := func(batchPoints, batchBytes, batches, perBatch int) {
		t.Helper()
		config := workerConfig(t, "http://127.0.0.1:9", true)
		sink := &config.Sinks[0]
		sink.BatchPoints, sink.BatchBytes, sink.Batches = batchPoints, batchBytes, batches
		w := openWith(t, config)
		o := w.lanes[0]
		w.eat(&Payload{Bytes: []byte(text.String()), Arrival: 1}, false)
		w.seal(o, 2)
		stored := min(lines, perBatch*batches)
		sealed := (stored + perBatch - 1) / perBatch
		if c := &w.counters; o.pool.Held() != stored || c.BatchesSealed != uint64(sealed) ||
			c.PointsDropped[DropOverload] != uint64(lines-stored) || c.PointsIn() != lines {
			t.Fatalf("%d points held, want %d in %d batches; counters %+v", o.pool.Held(), stored, sealed,
				*c)
		}
	}
	const line = len("m v=100 1000\n")
	f(7, 1<<12, 32, 7)
	f(1, 1<<12, 128, 1)
	f(1000, 5*line, 32, 5)
	f(1000, 5*line+line-1, 32, 5)
	f(7, 1<<12, 4, 7)
	f(1000, 5*line, 3, 5)
}
