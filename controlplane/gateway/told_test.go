package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/notify"
)

// Goal: what receivers know goes on in the next life, and a file that is damaged is said and changes nothing.
func TestWhatReceiversKnowIsReadBack(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	life := func() *Gateway {
		t.Helper()
		g := &Gateway{log: slog.New(slog.NewTextHandler(&log, nil))}
		g.checkpoints.dir = dir
		var err error
		if g.notifiers, err = notify.New(nil, slog.New(slog.DiscardHandler), nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.notifiers.Close(context.Background()) })
		g.restoreTold()
		return g
	}
	g := life()
	if g.checkpoints.told || log.Len() > 0 {
		t.Errorf("without a file there is something to tell: %s", log.String())
	}
	before := g.notifiers.Changes()
	g.notifiers.Send(notify.Alert{Rule: "Hot", Firing: true, Fingerprint: "1", Time: time.Unix(1, 0)})
	if err := g.notifiers.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if g.notifiers.Changes() == before {
		t.Error("an alert changes nothing")
	}
	if err := g.saveTold(); err != nil {
		t.Fatal(err)
	}
	g = life()
	if keys := g.notifiers.Stats()[0].Keys; !g.checkpoints.told || keys != 1 {
		t.Errorf("%d alerts are known in the next life, want 1", keys)
	}
	file := filepath.Join(dir, toldName)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	g = life()
	if keys := g.notifiers.Stats()[0].Keys; g.checkpoints.told || keys != 0 ||
		!strings.Contains(log.String(), "forgotten") {
		t.Errorf("%d alerts are known from a damaged file\n%s", keys, log.String())
	}
}
