package gateway

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// toldName is the file that says what receivers of alerts know, beside the checkpoints of rules: both are
	// saved together.
	toldName = "notifiers.state"
	// toldMax bounds the file that is read back: some hundred thousand alerts at several receivers.
	toldMax = 1 << 30
	// restoredPoll is how often it is asked whether the restored alerts are with the notifiers.
	restoredPoll = 50 * time.Millisecond
)

// restoreTold lets the notifiers go on from what their receivers knew when the gateway was last here. It
// comes before the first alert.
func (g *Gateway) restoreTold() {
	if g.checkpoints.dir == "" {
		return
	}
	file := filepath.Join(g.checkpoints.dir, toldName)
	about, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var data []byte
	switch {
	case err == nil && about.Size() > toldMax:
		err = errors.New("it is too large")
	case err == nil:
		data, err = os.ReadFile(file)
	}
	if err == nil {
		err = g.notifiers.Restore(data)
	}
	if err != nil {
		g.log.Warn("what receivers of alerts know is forgotten: firing alerts are told again",
			"file", file, "error", err)
		return
	}
	g.checkpoints.told = true
}

// saveTold saves what receivers of alerts know, and what they are still to be told.
func (g *Gateway) saveTold() error {
	if g.checkpoints.dir == "" {
		return nil
	}
	state, err := g.notifiers.State()
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(g.checkpoints.dir, toldName), state)
}

// endOrphans ends the alerts that receivers know as firing and the rules do not: those of rules that are gone
// or changed, and those that began after the last checkpoint. The latter may go on, so their points have the
// time between two checkpoints to say so.
func (g *Gateway) endOrphans(ctx context.Context) {
	if !g.checkpoints.told {
		return
	}
	wait := time.NewTimer(g.options.Config.Rules.Checkpoint)
	defer wait.Stop()
	for due := wait.C; ; {
		select {
		case <-ctx.Done():
			return
		case <-due:
		}
		if g.restoredAreTold() {
			break
		}
		wait.Reset(restoredPoll)
	}
	// Whatever the rules restored has been sent by now, and is no orphan.
	if ended := g.notifiers.Reconcile(func(string) bool { return false }); ended > 0 {
		g.log.Info("alerts are ended that no rule knows after the restart", "alerts", ended)
	}
}

// restoredAreTold tells whether all state changes that the workers have to tell are with the notifiers.
func (g *Gateway) restoredAreTold() bool {
	for i, w := range g.workers {
		n, all, err := w.Forwarded()
		if err != nil || !all || g.carried[i].Load() < n {
			return false
		}
	}
	return true
}
