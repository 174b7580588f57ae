package tune

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// roundsMax bounds how often the host is looked at anew: once after the settings that reset the link, since
// they deal interrupts out anew, and once to see that nothing is left.
const roundsMax = 4

// Outcome is what came of one change or of its undoing.
type Outcome struct {
	Setting Setting
	From    string
	To      string // as the kernel gave it back
	Why     string
	Problem error // nil: it is as wanted
}

// Session tunes a host, or puts it back.
type Session struct {
	Knobs    Knobs
	Root     string // "/" in production
	StateDir string // of the journal
	// Look plans for the interface as the host is now.
	Look func() ([]Change, error)
	// Disturbed (optional) names the settings that a reset of the link deals out anew.
	Disturbed func() ([]Setting, error)
	// Interface is the one that is tuned for.
	Interface string
}

// Apply makes the changes that the plan asks for, each written down before it is made, and plans anew until
// none is left. What the host refuses is an outcome with a problem, and the rest is done all the same. The
// error is of what ends it: a journal that cannot be written, a host that cannot be looked at.
func (s *Session) Apply() (outcomes []Outcome, err error) {
	j, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	tried := map[Setting]bool{}
	for range roundsMax {
		changes, err := s.Look()
		if err != nil {
			return outcomes, err
		}
		// What was tried and did not become as wanted is not tried again: it would not end.
		changes = slices.DeleteFunc(changes, func(c Change) bool { return tried[c.Setting] })
		if len(changes) == 0 {
			break
		}
		if slices.ContainsFunc(changes, func(c Change) bool { return c.resetsLink() }) {
			if err := s.remember(j); err != nil {
				return outcomes, err
			}
			changes = slices.DeleteFunc(changes, func(c Change) bool { return !c.resetsLink() })
		}
		for _, c := range changes {
			tried[c.Setting] = true
			outcome, err := s.make(j, c)
			if err != nil {
				return outcomes, err
			}
			outcomes = append(outcomes, outcome)
		}
	}
	return outcomes, s.settle(j)
}

// remember writes down what the reset of the link that is to come will disturb.
func (s *Session) remember(j *journal) error {
	if s.Disturbed == nil {
		return nil
	}
	settings, err := s.Disturbed()
	if err != nil {
		return err
	}
	for _, setting := range settings {
		if at := j.find(setting, s.Interface); at >= 0 {
			j.Entries[at].Disturbed, j.Entries[at].Done = true, false
			continue
		}
		now, err := s.Knobs.Read(setting)
		if err != nil {
			continue // What cannot be read cannot be restored.
		}
		j.Entries = append(j.Entries,
			Entry{Setting: setting, For: s.Interface, Before: now, After: now, Disturbed: true})
	}
	return j.save()
}

// settle writes down what became of the settings that were disturbed and are as wanted.
func (s *Session) settle(j *journal) error {
	changed := false
	for i := range j.Entries {
		e := &j.Entries[i]
		if e.For != s.Interface || !e.Disturbed || e.Done {
			continue
		}
		if now, err := s.Knobs.Read(e.Setting); err == nil {
			e.After = now
		}
		e.Done, changed = true, true
	}
	if !changed {
		return nil
	}
	return j.save()
}

// release lets the disturbed settings be overwritten, since undoing the resets of the link disturbs them once
// more. What somebody else has set since is what is restored then; those settings are returned.
func (s *Session) release(j *journal) (theirs map[Setting]string, err error) {
	changed := false
	theirs = map[Setting]string{}
	for i := range j.Entries {
		e := &j.Entries[i]
		if e.For != s.Interface || !e.Disturbed || !e.Done {
			continue
		}
		if now, err := s.Knobs.Read(e.Setting); err == nil && now != e.After && now != e.Before {
			theirs[e.Setting] = e.After
			e.Before = now
		}
		e.Done, changed = false, true
	}
	if !changed {
		return theirs, nil
	}
	return theirs, j.save()
}

func (s *Session) open() (*journal, error) {
	boot, err := bootID(s.Root)
	if err != nil {
		return nil, err
	}
	return openJournal(s.StateDir, boot)
}

// make makes one change. The error is the journal's.
func (s *Session) make(j *journal, c Change) (Outcome, error) {
	outcome := Outcome{Setting: c.Setting, From: c.Now, To: c.Now, Why: c.Why}
	at := j.find(c.Setting, s.Interface)
	fresh := at < 0
	if fresh {
		at = len(j.Entries)
		j.Entries = append(j.Entries, Entry{Setting: c.Setting, For: s.Interface, Before: c.Now})
	}
	j.Entries[at].After, j.Entries[at].Done = c.Becomes, false
	if err := j.save(); err != nil {
		return outcome, err
	}
	outcome.Problem = s.Knobs.Write(c.Setting, c.Becomes)
	now, err := s.Knobs.Read(c.Setting)
	switch {
	case err != nil:
		outcome.Problem = errors.Join(outcome.Problem, err)
		now = c.Becomes
	case outcome.Problem == nil && now != c.Becomes:
		outcome.Problem = fmt.Errorf("the kernel made %q of %q", now, c.Becomes)
	}
	outcome.To = now
	j.Entries[at].After, j.Entries[at].Done = now, true
	if fresh && now == c.Now {
		j.Entries = slices.Delete(j.Entries, at, at+1) // Nothing has changed.
	}
	return outcome, j.save()
}

// ErrChangedSince says that somebody else has set something after us; theirs is kept.
var ErrChangedSince = errors.New("it was changed by somebody else since, and is kept")

// Revert undoes what was done for the interface, newest first. Without a journal of this boot there is
// nothing to undo. It may be called again after a crash: what is restored already is left alone.
func (s *Session) Revert() (outcomes []Outcome, err error) {
	j, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	theirs, err := s.release(j)
	if err != nil {
		return nil, err
	}
	for i := len(j.Entries) - 1; i >= 0; i-- {
		e := j.Entries[i]
		if e.For != s.Interface {
			continue
		}
		// One for another interface that came later and stands: what was before both is now before that one.
		later := slices.IndexFunc(j.Entries[i+1:], func(o Entry) bool { return o.Setting == e.Setting })
		if later >= 0 {
			j.Entries[i+1+later].Before = e.Before
		} else {
			outcome := s.undo(e)
			if ours, is := theirs[e.Setting]; is && outcome.Problem == nil {
				outcome.Problem = fmt.Errorf("it is %q, and was set to %q: %w", e.Before, ours,
					ErrChangedSince)
			}
			outcomes = append(outcomes, outcome)
			if outcome.Problem != nil && !errors.Is(outcome.Problem, ErrChangedSince) {
				continue // It stays in the journal and can be tried again.
			}
		}
		j.Entries = slices.Delete(j.Entries, i, i+1)
		if err := j.save(); err != nil {
			return outcomes, err
		}
	}
	return outcomes, j.save()
}

// undo restores one setting.
func (s *Session) undo(e Entry) Outcome {
	now, err := s.Knobs.Read(e.Setting)
	outcome := Outcome{Setting: e.Setting, From: now, To: now, Why: "as it was"}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV):
		// An interrupt that the driver gave back, or the whole interface, with all that was set of it.
		outcome.Why = "it is gone"
		return outcome
	case err != nil:
		outcome.Problem = err
		return outcome
	case now == e.Before:
		return outcome
	case (e.Done || e.Kind == Rule) && now != e.After:
		// A rule is there whole or not at all, also after a crash: another one is not ours.
		outcome.Problem = fmt.Errorf("it is %q, and was set to %q: %w", now, e.After, ErrChangedSince)
		return outcome
	}
	if outcome.Problem = s.Knobs.Write(e.Setting, e.Before); outcome.Problem != nil {
		return outcome
	}
	outcome.To, outcome.Problem = s.Knobs.Read(e.Setting)
	switch {
	case outcome.Problem != nil || outcome.To == e.Before:
	case e.lent(outcome.To):
		outcome.Why = "as it was, once those in use are free"
	default:
		outcome.Problem = fmt.Errorf("the kernel made %q of %q", outcome.To, e.Before)
	}
	return outcome
}

// lent tells whether there are more huge pages than there were because a program, such as the gateway, is on
// them: the kernel takes each away when it is given back.
func (e *Entry) lent(now string) bool {
	n, err := strconv.Atoi(now)
	before, wrong := strconv.Atoi(e.Before)
	return e.Kind == File && path.Base(e.Name) == "nr_hugepages" && err == nil && wrong == nil && n > before
}
