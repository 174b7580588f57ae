package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"culvert/controlplane/config"
	"culvert/dataplane/rules"
)

const (
	// checkpointPattern names the files of all workers, checkpointName that of one.
	checkpointPattern = "rules-*.checkpoint"
	checkpointName    = "rules-%s.checkpoint"
	// checkpointMax bounds a file that is read back: some ten million keys.
	checkpointMax = 8 << 30
	// checkpointSoon is how long after an alert has changed its state is saved, and checkpointShare bounds
	// what that takes: the time between two saves is as many times that of one.
	checkpointSoon  = time.Second
	checkpointShare = 20
	// stateDirRemedy is for a folder that cannot be had.
	stateDirRemedy = "name a folder that is there and may be written, or keep no state with state_dir: \"\""
)

// checkpoints are the files in which the rules' state outlives the gateway, one for each worker.
type checkpoints struct {
	dir     string   // empty: none are kept
	found   [][]byte // what was saved before, until the workers have started
	buffers [][]byte
	told    bool // what receivers of alerts know was restored
}

// openCheckpoints finds the folder. The default folder is the package's to make: without it nothing is
// kept. One that the configuration names has to be there.
func (g *Gateway) openCheckpoints() error {
	dir := g.options.Config.StateDir
	if set := g.rules.current(); dir == "" || set == nil || set.Len() == 0 {
		return nil
	}
	about, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir == config.Default().StateDir:
		g.log.Info("state of rules is not kept over a restart: the folder of state_dir is missing",
			"folder", dir)
		return nil
	case err != nil:
		return fmt.Errorf("open state_dir: %w; %s", err, stateDirRemedy)
	case !about.IsDir():
		return fmt.Errorf("open state_dir %q: it is no folder; %s", dir, stateDirRemedy)
	}
	g.checkpoints.dir = dir
	g.checkpoints.found = g.readCheckpoints()
	return nil
}

// readCheckpoints reads what was saved. What is corrupt is said, and left out.
func (g *Gateway) readCheckpoints() [][]byte {
	if g.checkpoints.dir == "" {
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(g.checkpoints.dir, checkpointPattern))
	var all [][]byte
	for _, file := range files {
		data, err := readCheckpoint(file)
		if err != nil {
			g.log.Warn("rules begin without a checkpoint", "file", file, "error", err)
			continue
		}
		all = append(all, data)
	}
	return all
}

// tellRestored says what the workers took over.
func (g *Gateway) tellRestored() {
	var all rules.Restored
	for _, w := range g.workers {
		restored, err := w.RestoredRules()
		all.Alerts, all.Keys = all.Alerts+restored.Alerts, all.Keys+restored.Keys
		// Every worker looks at all checkpoints and sees the same changes.
		all.Changed = max(all.Changed, restored.Changed)
		if err != nil {
			g.log.Warn("rules begin without a checkpoint", "worker", w.Name(), "error", err)
		}
	}
	if len(g.checkpoints.found) > 0 {
		g.log.Info("rules go on from checkpoints", "alerts", all.Alerts, "keys", all.Keys,
			"of_changed_rules", all.Changed)
	}
	g.checkpoints.found = nil
}

func readCheckpoint(file string) ([]byte, error) {
	about, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if about.Size() > checkpointMax {
		return nil, fmt.Errorf("it has %d bytes, more than %d", about.Size(), checkpointMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return data, rules.VerifyCheckpoint(data)
}

// keepCheckpoints saves the rules' state, and what receivers of alerts know, again and again until the stop:
// every rules.checkpoint, and soon after an alert has changed or its receiver has been told, so that a
// gateway that is killed neither forgets an alert nor tells it anew.
func (g *Gateway) keepCheckpoints(ctx context.Context) {
	saved, rest, known := time.Now(), time.Duration(0), uint64(0)
	for range each(ctx, checkpointSoon) {
		began := time.Now()
		changes := g.notifiers.Changes()
		if since := began.Sub(saved); since < g.options.Config.Rules.Checkpoint &&
			(changes == known || since < rest) {
			continue
		}
		if err := g.saveCheckpoints(); err != nil {
			g.log.Warn("state of rules is not saved", "error", err)
		}
		saved, known = time.Now(), changes
		rest = checkpointShare * saved.Sub(began)
	}
}

// saveCheckpoints saves the state of all workers' rules now.
func (g *Gateway) saveCheckpoints() error {
	g.changing.Lock()
	defer g.changing.Unlock()
	// In this order: an alert that ends in between is one that receivers know and the rules do not, and is
	// ended after a restart; one that begins in between is told twice. The other way round one that has ended
	// would be told to fire.
	return errors.Join(g.saveTold(), g.saveStates())
}

// saveStates is saveCheckpoints for who holds the lock.
func (g *Gateway) saveStates() error {
	if g.checkpoints.dir == "" {
		return nil
	}
	if g.checkpoints.buffers == nil {
		g.checkpoints.buffers = make([][]byte, len(g.workers))
	}
	var errs []error
	kept := map[string]bool{}
	for i, w := range g.workers {
		data, err := w.SaveRules(g.checkpoints.buffers[i][:0])
		name := filepath.Join(g.checkpoints.dir, fmt.Sprintf(checkpointName, strconv.Itoa(i)))
		kept[name] = true
		if err == nil {
			// The next one will be about as long.
			g.checkpoints.buffers[i] = data
			err = writeWhole(name, data)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// A gateway with more workers may have been here; what it saved was taken over, and is saved
	// elsewhere now.
	files, _ := filepath.Glob(filepath.Join(g.checkpoints.dir, checkpointPattern))
	for _, file := range files {
		if !kept[file] {
			errs = append(errs, os.Remove(file))
		}
	}
	return errors.Join(errs...)
}

// writeWhole writes a file so that after a crash it is the old one or the new one, whole.
func writeWhole(name string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	if _, err = file.Write(data); err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
