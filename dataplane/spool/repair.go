package spool

import (
	"errors"
	"fmt"
	"io"
)

// repairName is what a repaired segment is called while it is being written.
const repairName = "repair.new"

// Repair cuts the flaws out of segments and keeps each aside in a file of its own; segments without a header
// that holds are kept aside whole. It returns the surveys of what it mended, as they were before. What is
// sound stays as it is, byte for byte. After an error the spool is as sound as it was.
func Repair(files Files) ([]Survey, error) {
	surveys, err := Inspect(files, nil)
	if err != nil {
		return nil, err
	}
	var mended []Survey
	for _, s := range surveys {
		first, _, _ := parseName(s.Name)
		switch {
		case s.Kept || s.Unread == nil && len(s.Flaws) == 0:
			continue
		case s.Unread != nil:
			if !errors.Is(s.Unread, errMalformed) {
				continue // of a later version, or nothing that can be opened
			}
			err = files.Rename(s.Name, badName(first))
		default:
			err = cutOut(files, &s, first)
		}
		if err != nil {
			return mended, fmt.Errorf("repair %s: %w", s.Name, err)
		}
		mended = append(mended, s)
	}
	if len(mended) == 0 {
		return nil, nil
	}
	return mended, files.Sync()
}

// cutOut writes the segment anew without its flaws. The flaws reach the disk first.
func cutOut(files Files, s *Survey, first uint64) error {
	from, err := files.Open(s.Name)
	if err != nil {
		return err
	}
	defer from.Close()
	for _, f := range s.Flaws {
		name := fmt.Sprintf("%020d-%d%s", first, f.From, badEnd)
		if err := copyStretches(files, name, from, []Flaw{f}); err != nil {
			return err
		}
	}
	var sound []Flaw // the stretches between
	at := int64(0)
	for _, f := range s.Flaws {
		sound = append(sound, Flaw{From: at, To: f.From})
		at = f.To
	}
	sound = append(sound, Flaw{From: at, To: s.Bytes})
	if err := copyStretches(files, repairName, from, sound); err != nil {
		return err
	}
	return files.Rename(repairName, s.Name)
}

// copyStretches makes a file of stretches of another and brings it to disk.
func copyStretches(files Files, name string, from File, stretches []Flaw) error {
	_ = files.Remove(name) // of a repair that was broken off
	to, err := files.Create(name)
	if err != nil {
		return err
	}
	at := int64(0)
	for _, s := range stretches {
		n, copyErr := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, s.From, s.To-s.From))
		if err = copyErr; err != nil {
			break
		}
		at += n
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// Clear removes all that waits and all that was kept aside, and returns the surveys of what it removed.
// Segments of a later version of the format stay.
func Clear(files Files) ([]Survey, error) {
	surveys, err := Inspect(files, nil)
	if err != nil {
		return nil, err
	}
	var gone []Survey
	for _, s := range surveys {
		if s.Unread != nil && !errors.Is(s.Unread, errMalformed) {
			continue
		}
		if err := files.Remove(s.Name); err != nil {
			return gone, fmt.Errorf("clear spool: %w", err)
		}
		gone = append(gone, s)
	}
	return gone, files.Sync()
}
