package spool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// openOn opens a log whose segments hold only a few records.
func openOn(t testing.TB, files Files, change func(*Config)) *Log {
	t.Helper()
	c := Config{Files: files, SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax, Codec: CodecNone}
	if change != nil {
		change(&c)
	}
	l, _, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// put appends one line of about so many bytes.
func put(t testing.TB, l *Log, number, size int) (dropped int) {
	t.Helper()
	r := Record{Points: 1, Oldest: int64(number), Body: line(number, size)}
	dropped, err := l.Append(&r, false)
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

func line(number, size int) []byte {
	return fmt.Appendf(nil, "m v=\"%s\" %d\n", strings.Repeat("x", size), number)
}

// drain takes out all that waits and acknowledges it.
func drain(t testing.TB, l *Log) (bodies []string) {
	t.Helper()
	for {
		r, more, err := l.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return bodies
		}
		bodies = append(bodies, string(r.Body))
		l.Ack(r.Sequence)
	}
}

// What is appended comes out oldest first, over segments, and what is returned comes in its old place.
func TestOldestFirst(t *testing.T) {
	l := openOn(t, newMemory(newRandom(t, 1)), nil)
	const count = 40
	for i := range count {
		put(t, l, i, 3000)
	}
	if n := l.Stats().Segments; n < 3 {
		t.Fatalf("%d segments, want several", n)
	}
	var given []uint64
	for range 10 {
		r, _, _ := l.Next(nil)
		given = append(given, r.Sequence)
	}
	l.Return(given[7])
	l.Return(given[3])
	for _, i := range []int{0, 1, 2, 4, 5, 6, 8, 9} {
		l.Ack(given[i])
	}
	want := append([]int{3, 7}, make([]int, 0, count)...)
	for i := 10; i < count; i++ {
		want = append(want, i)
	}
	got := drain(t, l)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, number := range want {
		if got[i] != string(line(number, 3000)) {
			t.Fatalf("record %d is %q…, want number %d", i, got[i][len(got[i])-9:], number)
		}
	}
}

// The files never take more than MaxBytes, whatever the policy, and the points that gave way are told
// exactly.
func TestNeverMoreThanMax(t *testing.T) {
	for _, policy := range []WhenFull{DropOldest, DropNewest} {
		random := newRandom(t, uint64(policy)+3)
		disk := newMemory(random)
		l := openOn(t, disk, func(c *Config) { c.WhenFull, c.MaxBytes = policy, 8*headMax })
		appended, refused, dropped := 0, 0, 0
		var out []uint64
		for i := range 3000 {
			switch random.IntN(8) {
			case 0:
				if r, more, _ := l.Next(nil); more {
					out = append(out, r.Sequence)
				}
			case 1:
				if len(out) > 0 {
					l.Ack(out[0])
					out = out[1:]
				}
			case 2:
				if len(out) > 2 {
					dropped += l.Return(out[1])
					out = append(out[:1], out[2:]...)
				}
			case 3:
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
			default:
				r := Record{Points: 3, Body: line(i, random.IntN(9000))}
				n, err := l.Append(&r, false)
				dropped += n
				if errors.Is(err, ErrFull) {
					refused++
				} else if err != nil {
					t.Fatal(err)
				} else {
					appended += 3
				}
			}
			if disk.most > 8*headMax {
				t.Fatalf("the files took %d bytes, want at most %d", disk.most, 8*headMax)
			}
			if s := l.Stats(); s.Bytes < disk.size() || int(s.Dropped) != dropped ||
				int(s.Appended) != appended || s.Corrupt != 0 ||
				s.Appended != s.Acknowledged+s.Dropped+s.Waiting+s.Out {
				t.Fatalf("step %d: %d dropped, %d appended, but %+v", i, dropped, appended, s)
			}
		}
		if newest := policy == DropNewest; newest != (dropped == 0) || newest != (refused > 0) {
			t.Fatalf("policy %d: %d points dropped, %d records refused", policy, dropped, refused)
		}
	}
}

// A record that has more bytes than the whole spool is refused and costs nothing else its place, at most.
func TestRecordThatNeverFits(t *testing.T) {
	l := openOn(t, newMemory(newRandom(t, 1)), func(c *Config) { c.WhenFull = DropNewest })
	put(t, l, 1, 100)
	r := Record{Points: 1, Body: line(2, 65*headMax)}
	if _, err := l.Append(&r, false); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want %v", err, ErrFull)
	}
	if got := drain(t, l); len(got) != 1 {
		t.Fatalf("%d records wait, want 1", len(got))
	}
}

// A disk that has become full is drained all the same: nothing that is needed for it takes room.
func TestFullDiskIsDrained(t *testing.T) {
	disk := newMemory(newRandom(t, 4))
	l := openOn(t, disk, nil)
	for i := range 30 {
		put(t, l, i, 3000)
	}
	before := disk.most
	full := &fullDisk{memory: disk, limit: disk.most}
	l.config.Files = full
	r := Record{Points: 1, Body: line(99, 30000)}
	if _, err := l.Append(&r, false); err == nil {
		t.Fatal("a full disk takes a record")
	}
	if got := drain(t, l); len(got) != 30 {
		t.Fatalf("%d records, want 30", len(got))
	}
	for range 2 {
		if err := l.Sync(); err != nil {
			t.Fatalf("drain a full disk: %v", err)
		}
	}
	if s := l.Stats(); s.Segments != 0 || disk.most != before {
		t.Fatalf("after draining: %+v, %d bytes, %d before", s, disk.most, before)
	}
}

// fullDisk takes no byte more than it has.
type fullDisk struct {
	*memory
	limit int64
}

func (f *fullDisk) Create(name string) (File, error) { return nil, errInjected }

// Every codec gives back what it was given, also what cannot be compressed.
func TestCodecs(t *testing.T) {
	random := newRandom(t, 6)
	for codec := CodecNone; codec <= CodecZstd; codec++ {
		l := openOn(t, newMemory(random), func(c *Config) { c.Codec, c.MaxBytes = codec, 64<<20 })
		var want []string
		for i := range 60 {
			body := line(i, i*i*7)
			if i%3 == 0 {
				for k := range body {
					body[k] = byte(random.UintN(256))
				}
			}
			r := Record{
				Points: 1, Body: body, Tenant: strings.Repeat("t", i), Worker: uint16(i), Shard: 9, Batch: 5,
				Oldest: -1,
			}
			if _, err := l.Append(&r, false); err != nil {
				t.Fatal(err)
			}
			want = append(want, string(body))
		}
		into := make([]byte, 0, 1000)
		for i := range want {
			r, more, err := l.Next(into)
			if err != nil || !more || string(r.Body) != want[i] || len(r.Tenant) != i ||
				r.Worker != uint16(i) || r.Shard != 9 || r.Batch != 5 || r.Oldest != -1 {
				t.Fatalf("%s: record %d comes back as %+v, %v", codec, i, r, err)
			}
			l.Ack(r.Sequence)
		}
	}
}

// Appending and reading take no memory once the first records have passed.
func TestNoAllocations(t *testing.T) {
	disk, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := openOn(t, disk, func(c *Config) {
		c.Codec, c.SegmentBytes, c.MaxBytes = CodecSnappy, 64<<20, 256<<20
	})
	defer l.Close()
	body, into := bytes.Repeat(line(1, 20), 500), make([]byte, 0, 64<<10)
	r := Record{Points: 500, Body: body}
	turn := func() {
		if _, err := l.Append(&r, false); err != nil {
			t.Fatal(err)
		}
		got, more, err := l.Next(into)
		if err != nil || !more || !bytes.Equal(got.Body, body) {
			t.Fatal("what was appended does not come back")
		}
		l.Ack(got.Sequence)
	}
	if n := testing.AllocsPerRun(100, turn); n > 0 {
		t.Errorf("%v allocations per record", n)
	}
}

// One directory has one holder; the lock ends with it.
func TestDirectoryIsHeld(t *testing.T) {
	path := t.TempDir()
	first, err := OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory(path); !errors.Is(err, ErrHeld) {
		t.Fatalf("got %v, want %v", err, ErrHeld)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := OpenExisting(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil || second.Close() != nil {
		t.Fatal("close is not idempotent")
	}
	if _, err := OpenExisting(t.TempDir()); err == nil {
		t.Fatal("a directory without a spool is opened as one")
	}
}

// The real directory does what the one in memory does: a log is closed, opened, drained, and its room is
// back.
func TestOnDisk(t *testing.T) {
	path := t.TempDir()
	for life := range 3 {
		disk, err := OpenDirectory(path)
		if err != nil {
			t.Fatal(err)
		}
		l := openOn(t, disk, func(c *Config) { c.Codec = CodecZstd })
		if got := len(drain(t, l)); got != min(life, 1)*20 {
			t.Fatalf("life %d: %d records", life, got)
		}
		for i := range 20 {
			put(t, l, i, 5000)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	l := openOn(t, disk, nil)
	drain(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := disk.List()
	if err != nil || len(entries) != 2 {
		t.Fatalf("a drained spool has %v, %v; want its lock and its position", entries, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []Config{
		{},
		{Files: newMemory(nil), SegmentBytes: 1, MaxBytes: 1 << 30},
		{Files: newMemory(nil), SegmentBytes: 1 << 20, MaxBytes: 1 << 20},
		{Files: newMemory(nil), SegmentBytes: 1 << 20, MaxBytes: 1 << 30, Codec: 9},
	} {
		if _, _, err := Open(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// ranges agrees with a set that is a map.
func TestRanges(t *testing.T) {
	random := newRandom(t, 8)
	for range 200 {
		var r ranges
		set := map[uint64]bool{}
		for range 30 {
			from := random.Uint64N(60)
			to := from + random.Uint64N(6)
			r = r.add(sequences{from, to})
			for n := from; n < to; n++ {
				set[n] = true
			}
			for n := range uint64(70) {
				if r.has(n) != set[n] {
					t.Fatalf("%v has %d: %t, want %t", r, n, r.has(n), set[n])
				}
			}
			for i := 1; i < len(r); i++ {
				if r[i-1].to >= r[i].from {
					t.Fatalf("%v: stretches touch", r)
				}
			}
		}
	}
}

// A record of which a part is delivered goes on behind it, whatever happens to it meanwhile, and counts by
// what is left; a restart begins it anew.
func TestAdvance(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, nil)
	r := Record{Points: 3, Body: []byte("a v=1 1\nb v=2 2\nc v=3 3\n")}
	if _, err := l.Append(&r, false); err != nil {
		t.Fatal(err)
	}
	next := func(want string, points int) {
		t.Helper()
		got, more, err := l.Next(nil)
		if err != nil || !more || string(got.Body) != want || got.Points != points {
			t.Fatalf("got %d points %q, %t, %v; want %d, %q", got.Points, got.Body, more, err, points, want)
		}
		if s := l.Stats(); s.Out != uint64(points) || s.Waiting != 0 {
			t.Fatalf("%+v", s)
		}
	}
	next("a v=1 1\nb v=2 2\nc v=3 3\n", 3)
	l.Advance(r.Sequence, 8, 1)
	l.Return(r.Sequence)
	if s := l.Stats(); s.Acknowledged != 1 || s.Waiting != 2 {
		t.Fatalf("%+v", s)
	}
	next("b v=2 2\nc v=3 3\n", 2)
	l.Advance(r.Sequence, 8, 1)
	l.Return(r.Sequence)
	next("c v=3 3\n", 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openOn(t, disk, nil)
	next("a v=1 1\nb v=2 2\nc v=3 3\n", 3)
	l.Advance(r.Sequence, 8, 1)
	if n := l.Ack(r.Sequence); n != 2 {
		t.Fatalf("the rest has %d points", n)
	}
	if s := l.Stats(); s.Acknowledged != 3 || s.Out+s.Waiting != 0 {
		t.Fatalf("%+v", s)
	}
}

// What a caller does not know itself is counted by tenant: what was found, gave way, and does not hold.
func TestShares(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	tenants := func(c *Config) { c.Tenants = []string{"a", "b"} }
	l := openOn(t, disk, tenants)
	for i := range 30 {
		r := Record{Points: 1 + i%3, Tenant: []string{"a", "b", "gone"}[i%3], Body: line(i, 100)}
		if _, err := l.Append(&r, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, file := range disk.names {
		if strings.HasSuffix(name, segmentEnd) {
			at := bytes.Index(file.seen, []byte("m v=\"xxx")) // of the first record, which is a's
			file.seen[at+5] ^= 1
		}
	}
	l = openOn(t, disk, tenants)
	want := []Share{{Restored: 10}, {Restored: 20}, {Restored: 30}}
	if got := l.Shares(); !slices.Equal(got, want) {
		t.Fatalf("after Open %+v, want %+v", got, want)
	}
	if _, _, err := l.Next(nil); err != nil {
		t.Fatal(err)
	}
	// Until the one segment of before has given way; the second record of it is out.
	for i := 0; l.Stats().Dropped == 0; i++ {
		r := Record{Points: 1, Tenant: "b", Body: line(i, 5000)}
		if _, err := l.Append(&r, false); err != nil {
			t.Fatal(err)
		}
	}
	want = []Share{{10, 9, 1}, {20, 18, 0}, {30, 30, 0}}
	if got := l.Shares(); !slices.Equal(got, want) {
		t.Fatalf("after the disk was full %+v, want %+v", got, want)
	}
}
