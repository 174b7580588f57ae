package gateway

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

const (
	// rejectsFile is the file of rejects.dir that is written now, rejectsOld the one before it.
	rejectsFile, rejectsOld = "rejects.jsonl", "rejects.1.jsonl"
	// rejectsFileMax bounds each of them, in bytes.
	rejectsFileMax = 64 << 20
)

// takeRefusals moves what the servers refused into the reject ring, and to disk where a folder is named,
// until the context ends; what is there then is taken as well.
func (g *Gateway) takeRefusals(ctx context.Context) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	keeper := newRejectKeeper(g.options.Config.Rejects.Dir)
	defer keeper.close()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-ticker.C:
		}
		g.growing.RLock()
		rings := g.refusals
		g.growing.RUnlock()
		for _, ring := range rings {
			for r := ring.Peek(); r != nil; r = ring.Peek() {
				one := g.rejectedPoint(r)
				g.rejects.Add(one)
				keeper.add(&one)
				ring.Release()
			}
		}
		if err := keeper.flush(); err != nil {
			g.log.Error("rejects are not kept on disk", "dir", g.options.Config.Rejects.Dir, "error", err)
		}
	}
}

// rejectedPoint says in words what a server refused.
func (g *Gateway) rejectedPoint(r *dataplane.Refusal) telemetry.Reject {
	t := g.targetOf(r.Lane)
	one := telemetry.Reject{
		Taken: time.Now(), Stage: "sink", Reason: fmt.Sprint(r.Code), Sink: t.config.Name, URL: t.url,
		Words: r.Words, Text: r.Line,
	}
	if r.Trace != [16]byte{} {
		one.TraceID = hex.EncodeToString(r.Trace[:])
	}
	return one
}

// rejectKeeper writes rejects into a folder as lines of JSON: one file, and the one before it, so that they
// take no more than twice rejectsFileMax.
type rejectKeeper struct {
	dir     string
	file    *os.File
	size    int64
	pending []byte
	failed  bool // said already
}

// newRejectKeeper keeps nothing where no folder is named.
func newRejectKeeper(dir string) *rejectKeeper { return &rejectKeeper{dir: dir} }

// add remembers one for the next flush.
func (k *rejectKeeper) add(one *telemetry.Reject) {
	if k.dir == "" {
		return
	}
	text, err := json.Marshal(one)
	if err != nil {
		return // A Reject holds only what JSON can say.
	}
	k.pending = append(append(k.pending, text...), '\n')
}

// flush writes what was added. It returns an error once, until it succeeds again; what could not be written
// is given up.
func (k *rejectKeeper) flush() error {
	if len(k.pending) == 0 {
		return nil
	}
	err := k.write()
	k.pending = k.pending[:0]
	said := k.failed
	if k.failed = err != nil; k.failed && said {
		return nil
	}
	return err
}

func (k *rejectKeeper) write() error {
	path := filepath.Join(k.dir, rejectsFile)
	if k.file != nil && k.size+int64(len(k.pending)) > rejectsFileMax {
		k.close()
		if err := os.Rename(path, filepath.Join(k.dir, rejectsOld)); err != nil {
			return fmt.Errorf("roll the file of rejects: %w", err)
		}
	}
	if k.file == nil {
		if err := os.MkdirAll(k.dir, 0o750); err != nil {
			return fmt.Errorf("make the folder of rejects: %w", err)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
		if err != nil {
			return fmt.Errorf("open the file of rejects: %w", err)
		}
		k.file = file
		if info, err := file.Stat(); err == nil {
			k.size = info.Size()
		}
	}
	n, err := k.file.Write(k.pending)
	k.size += int64(n)
	if err != nil {
		return fmt.Errorf("write rejects: %w", err)
	}
	return nil
}

func (k *rejectKeeper) close() {
	if k.file != nil {
		k.file.Close()
		k.file = nil
	}
}
