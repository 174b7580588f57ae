package dataplane

import (
	"fmt"
	"os"
	"time"

	"culvert/dataplane/rules"
)

// checkpointKeys is how many keys and alerts of a checkpoint a turn writes: some ten microseconds.
const checkpointKeys = 64

// restoreRules lets the rules go on from what was saved before the gateway was away. Without a checkpoint
// that is of no use they begin anew.
func (w *Worker) restoreRules() {
	now := w.clock.Now()
	w.rules.SetWall(w.clock.Wall(now) - now)
	for _, data := range w.config.RuleCheckpoints {
		restored, err := w.rules.Restore(data, now, false)
		w.restored.Alerts += restored.Alerts
		w.restored.Keys += restored.Keys
		w.restored.Changed += restored.Changed
		if err != nil {
			w.restoreError = err
		}
	}
}

// RestoredRules is what the worker's rules took over when it started, and why some of it was of no use.
func (w *Worker) RestoredRules() (rules.Restored, error) { return w.restored, w.restoreError }

// SaveRules appends a checkpoint of the worker's rules to a buffer, a few keys a turn while points pass. It
// waits for the end. Checkpoints of one worker are taken one at a time.
func (w *Worker) SaveRules(buffer []byte) ([]byte, error) {
	saved := make(chan []byte, 1)
	w.post(func() {
		if w.rules != nil {
			w.rules.CheckpointBegin(buffer, w.clock.Now())
			w.saved = saved
		}
	})
	select {
	case data := <-saved:
		return data, nil
	case <-w.ended:
		return nil, fmt.Errorf("save rules of worker %q: %w", w.config.Name, os.ErrClosed)
	case <-time.After(doTime):
		return nil, fmt.Errorf("save rules of worker %q: %w", w.config.Name, os.ErrDeadlineExceeded)
	}
}

// save goes on with a checkpoint, and returns how much it did.
func (w *Worker) save() int {
	if w.saved == nil {
		return 0
	}
	if data, done := w.rules.CheckpointStep(checkpointKeys); done {
		w.saved <- data
		w.saved = nil
	}
	return 1
}
