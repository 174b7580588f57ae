package dataplane

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/dataplane/influx"
	"culvert/dataplane/rules"
	"culvert/dataplane/xsk"
)

const (
	// slabFrames of slabFrameSize bytes are more than a core's own cache holds, as a UMEM is that another
	// core has just filled.
	slabFrames, slabFrameSize = 8192, 2048
	slabBatch                 = 64
)

// slab is frames in one piece of memory, as the kernel leaves them in UMEM, all of one shape.
type slab struct {
	memory []byte
	descs  []xsk.Desc
	points int // of all frames
}

// newSlab fills the frames with packets of so many points of 92 bytes each.
func newSlab(points int) *slab { return newSlabIn(make([]byte, slabFrames*slabFrameSize), points) }

func newSlabIn(memory []byte, points int) *slab {
	s := &slab{memory: memory, points: points * slabFrames}
	for i := range slabFrames {
		var text strings.Builder
		for j := range points {
			n := i*points + j
			fmt.Fprintf(&text, "plant,line=l%02d,sensor=s%03d temperature=%d.%02d,"+
				"pressure=%d.%03d,rpm=%di %d\n",
				n%16, n%1000, 20+n%70, n%100, 100+n%900, n%1000, 1000+n%9000, 1700000000000000000+n)
		}
		packet, metadata := frame(text.String(), int64(1+i))
		at := i*slabFrameSize + 256
		copy(s.memory[at-abi.MetaSize:], metadata)
		copy(s.memory[at:], packet)
		s.descs = append(s.descs, xsk.Desc{Addr: uint64(at), Len: uint32(len(packet))})
	}
	return s
}

// restamp makes the metadata of frames fresh again, as the XDP program does for a new packet.
func (s *slab) restamp(descs []xsk.Desc) {
	for i := range descs {
		binary.LittleEndian.PutUint32(s.memory[descs[i].Addr-abi.MetaSize:], abi.Magic)
	}
}

// tenRules is eight rules found by a tag that one point in 125 has a value for, and two thresholds, none of
// which fires.
func tenRules(tb testing.TB) *rules.Set {
	tb.Helper()
	group := rules.Group{Name: rules.Text{Source: "bench"}}
	add := addTo(&group, "plant")
	add("Hot", "temperature > 95")
	add("Racing", "pressure > 2000 && rpm > 500")
	for i := range 8 {
		add(fmt.Sprintf("Sensor%d", i), fmt.Sprintf(`tags.sensor == "s%03d" && temperature > 90`, 100*i))
	}
	return compile(tb, group)
}

// lineRules is the ten rules of bench/rules10.yaml: six of its eight lines are among the sixteen of a slab,
// so that three points in eight meet a third rule, and a threshold is for every measurement.
func lineRules(tb testing.TB) *rules.Set {
	tb.Helper()
	group := rules.Group{Name: rules.Text{Source: "bench"}}
	add := addTo(&group, "plant")
	add("Line01", `tags.line == "l01" && temperature > 95.0`)
	add("Line02", `tags.line == "l02" && temperature > 95.0`)
	add("Line03", `tags.line == "l03" && pressure > 1000.0`)
	add("Line05", `tags.line == "l05" && pressure < 50.0`)
	add("Line08", `tags.line == "l08" && rpm > 10000`)
	add("Line13", `tags.line == "l13" && rpm < 500 && temperature > 40.0`)
	add("Line21", `tags.line == "l21" && temperature * 2.0 > 190.0`)
	add("Line34", `tags.line in ["l34", "l55"] && temperature > 95.0`)
	add("Overpressure", "pressure > 1000.0 && rpm > 500")
	addTo(&group, "*")("Overheated", "temperature > 95.0")
	return compile(tb, group)
}

// addTo adds alerts for a measurement to a group.
func addTo(group *rules.Group, on string) func(name, expr string) {
	return func(name, expr string) {
		group.Rules = append(group.Rules, rules.Rule{
			Alert: rules.Text{Source: name}, On: []rules.Text{{Source: on}},
			Expr: rules.Text{Source: expr}, By: []rules.Text{{Source: "sensor"}}, HasBy: true,
		})
	}
}

func compile(tb testing.TB, group rules.Group) *rules.Set {
	tb.Helper()
	set, wrong := rules.Compile([]rules.Group{group})
	if len(wrong) > 0 {
		tb.Fatal(wrong[0])
	}
	return set
}

// openWorker is a worker that does not run: its turn's parts are called by hand.
func openWorker(tb testing.TB, set *rules.Set) *Worker {
	tb.Helper()
	config := workerConfig(tb, "http://127.0.0.1:9", true)
	config.Sinks[0].BatchPoints = 1 << 30
	if set != nil {
		config.Rules, config.RuleState = set, rules.Config{Workers: 1, Owners: 1, KeysMax: 1000}
	}
	return openWith(tb, config)
}

func openWith(tb testing.TB, config Config) *Worker {
	tb.Helper()
	w := &Worker{config: config, links: config.Exchange, waker: config.Exchange.wakers[0],
		stages: new(Stages)}
	if err := w.open(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.closeAll)
	return w
}

// BenchmarkPath is the way of a point inside the worker: from frames in memory that this core has not touched
// to lines in the open batch, with rules that look at every point. The socket's rings and the send are not in
// it. Each pass takes all frames of the slab and proves what came out.
func BenchmarkPath(b *testing.B) {
	for _, points := range []int{1, 10, 14} {
		s := newSlab(points)
		for _, with := range []string{"rules", "lines", "plain"} {
			b.Run(fmt.Sprintf("points=%d/%s", points, with), func(b *testing.B) {
				var set *rules.Set
				switch with {
				case "rules":
					set = tenRules(b)
				case "lines":
					set = lineRules(b)
				}
				benchmarkPath(b, openWorker(b, set), s)
			})
		}
	}
}

// BenchmarkPathPages is the same over frames in pages of 4 KiB, as a UMEM has, and in huge ones.
func BenchmarkPathPages(b *testing.B) {
	for name, advice := range map[string]int{"small": unix.MADV_NOHUGEPAGE, "huge": unix.MADV_HUGEPAGE} {
		const alignment = 2 << 20
		memory, err := unix.Mmap(-1, 0, slabFrames*slabFrameSize+alignment, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = unix.Munmap(memory) })
		if err := unix.Madvise(memory, advice); err != nil {
			b.Skip("this kernel has no huge pages to advise: ", err)
		}
		for _, points := range []int{1, 14} {
			s := newSlabIn(memory[:slabFrames*slabFrameSize], points)
			b.Run(fmt.Sprintf("points=%d/%s", points, name), func(b *testing.B) {
				benchmarkPath(b, openWorker(b, nil), s)
			})
		}
	}
}

func benchmarkPath(b *testing.B, w *Worker, s *slab) {
	var stored, size int
	passes, inside := 0, time.Duration(0)
	queue := QueueConfig{Checksum: ChecksumVerify}
	// The batch is emptied without a writer: what the sink costs is measured where it is made.
	empty := func(batch *influx.Batch) {
		stored, size = stored+batch.Points(), size+batch.Bytes()
		w.lanes[0].pool.Release(batch)
		w.lanes[0].open = nil
	}
	batches := make([]time.Duration, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		passes++
		for i := 0; i < slabFrames; i += slabBatch {
			descs := s.descs[i : i+slabBatch]
			s.restamp(descs)
			if o := w.lanes[0].open; o != nil && o.Room() < slabBatch*slabFrameSize {
				empty(o)
			}
			start := time.Now()
			w.eatFrames(s.memory, descs, &queue, int64(i))
			took := time.Since(start)
			inside += took
			batches = append(batches, took)
		}
	}
	empty(w.lanes[0].open)
	if want := passes * s.points; stored != want || size != 92*want ||
		w.counters.PointsIn() != uint64(want) || w.counters.FramesDecoded != uint64(passes*slabFrames) {
		b.Fatalf("%d points of %d bytes in batches, want %d; counters %+v", stored, size, want, w.counters)
	}
	slices.Sort(batches)
	// Batches that another thread interrupted are not among the faster half.
	b.ReportMetric(float64(batches[len(batches)/4].Nanoseconds()*slabFrames/slabBatch)/float64(s.points),
		"quartile-ns/point")
	each := float64(inside.Nanoseconds()) / float64(passes)
	b.ReportMetric(each/slabFrames, "ns/frame")
	b.ReportMetric(each/float64(s.points), "ns/point")
	b.ReportMetric(0, "ns/op")
}
