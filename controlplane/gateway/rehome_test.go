package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// leftRig is a gateway with sinks and a folder of spools, none of which is open.
func leftRig(t *testing.T, dir string, urls []string, change func(*config.Config)) *Gateway {
	t.Helper()
	c := config.Default()
	c.Spool.Dir, c.Spool.Segment = dir, 1<<20
	// Defaults of a list's elements come with the file.
	c.Sinks = []config.Sink{{Name: "main", Type: "influxdb", URLs: urls, Database: "d", Routing: "hash",
		OnRemove: "rehash"}}
	change(c)
	g := &Gateway{options: Options{Config: c}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if err := openSinks(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	g.spools.dir = dir
	return g
}

// fillLeft makes the spool of one URL, with records of some series, and returns its folder and lines.
func fillLeft(t *testing.T, dir, url string, records int) (folder string, lines map[string]bool) {
	t.Helper()
	folder, lines = filepath.Join(dir, spool.DirectoryName("main", url)), map[string]bool{}
	files, err := spool.OpenDirectory(folder)
	if err != nil {
		t.Fatal(err)
	}
	log, _, err := spool.Open(spool.Config{Files: files, Label: spool.Label{Sink: "main", URL: url, Epoch: 1},
		SegmentBytes: 1 << 16, MaxBytes: 1 << 30, Codec: spool.CodecNone})
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		var body strings.Builder
		for j := range 20 {
			line := fmt.Sprintf("m,host=h%d,z=a\\ b v=%d,s=\"a\nb, c\",u=%du %d\n", (7*i+j)%50, i, j,
				1000*i+j)
			lines[line] = true
			body.WriteString(line)
		}
		record := spool.Record{Points: 20, Oldest: int64(1 + i), Body: []byte(body.String())}
		if _, err := log.Append(&record, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return folder, lines
}

// waitingIn are the lines that wait in a spool, and how many points its records say.
func waitingIn(t *testing.T, folder string) (lines map[string]bool, points int) {
	t.Helper()
	files, err := spool.OpenExisting(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	lines = map[string]bool{}
	_, err = spool.Inspect(files, func(r *spool.Record) error {
		points += r.Points
		var decoder lineproto.Decoder
		var encoder lineproto.Encoder
		var p point.Point
		decoder.Start(r.Body, lineproto.Nanosecond, &p)
		for decoder.Next(&p) != lineproto.End {
			text, _ := encoder.Append(nil, &p)
			lines[string(text)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, points
}

// Goal: what waited for a URL that is gone is, after a start, where its series are now, each line once, and a
// second start finds nothing to do. Method: a spool for a third URL, and a gateway with two.
func TestSpoolOfAURLThatIsGone(t *testing.T) {
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}
	const gone = "http://127.0.0.1:3"
	for _, row := range []struct {
		routing, policy string
		moves           bool
	}{
		{"hash", "rehash", true}, {"load_aware", "rehash", true}, {"failover", "rehash", true},
		{"replicate", "rehash", false}, {"hash", "keep", false},
	} {
		t.Run(row.routing+" "+row.policy, func(t *testing.T) {
			dir := t.TempDir()
			folder, all := fillLeft(t, dir, gone, 300)
			g := leftRig(t, dir, urls, func(c *config.Config) {
				c.Sinks[0].Routing, c.Sinks[0].OnRemove = row.routing, row.policy
			})
			for range 2 {
				used := map[string]bool{}
				for _, target := range g.targets {
					used[target.spoolFolder(dir)] = true
				}
				g.rehome(used)
				if used[folder] != row.moves {
					t.Fatalf("the folder is settled: %t", used[folder])
				}
			}
			left, points := waitingIn(t, folder)
			if !row.moves {
				if !maps.Equal(left, all) || points != len(all) {
					t.Fatalf("%d of %d lines are left", len(left), len(all))
				}
				return
			}
			if points != 0 {
				t.Fatalf("%d points are left", points)
			}
			table := g.sinks[0].table.Load()
			for i, target := range g.targets {
				lines, points := waitingIn(t, target.spoolFolder(dir))
				if points != len(lines) {
					t.Fatalf("%d points in %d lines", points, len(lines))
				}
				for line := range lines {
					owner := 0
					if row.routing != "failover" {
						var decoder lineproto.Decoder
						var p point.Point
						decoder.Start([]byte(line), lineproto.Nanosecond, &p)
						decoder.Next(&p)
						owner = table.Find(shard.Hash(&p))
					}
					if !all[line] || owner != i {
						t.Fatalf("%q is with URL %d, its owner is %d, known %t", line, i, owner, all[line])
					}
					delete(all, line)
				}
			}
			if len(all) > 0 {
				t.Fatalf("%d lines are lost", len(all))
			}
		})
	}
}

// Goal: where the others have no room, the rest stays where it is, and nothing that they have gives way.
// Method: spools that hold a part of it.
func TestSpoolOfAURLThatIsGoneHasNoRoom(t *testing.T) {
	dir := t.TempDir()
	folder, all := fillLeft(t, dir, "http://127.0.0.1:3", 3000)
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}
	g := leftRig(t, dir, urls, func(c *config.Config) {
		c.Spool.Max, c.Spool.Segment, c.Spool.Compression = 2<<20, 256<<10, "none"
	})
	used := map[string]bool{}
	for _, target := range g.targets {
		used[target.spoolFolder(dir)] = true
	}
	g.rehome(used)
	if used[folder] {
		t.Fatal("it counts as settled")
	}
	found, left := waitingIn(t, folder)
	moved := 0
	for _, target := range g.targets {
		lines, points := waitingIn(t, target.spoolFolder(dir))
		maps.Copy(found, lines)
		moved += points
	}
	if left == 0 || moved == 0 || !maps.Equal(found, all) {
		t.Fatalf("%d points are left, %d moved; %d lines of %d", left, moved, len(found), len(all))
	}
}
