package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// positionName is the file that says what was acknowledged, positionNew one that takes its place.
	positionName = "position"
	positionNew  = "position.new"
	// slotSize is one of the file's two slots: they are written in turn and in place, so that a crash leaves
	// one of them whole and a full disk has the room.
	slotSize     = 4096
	positionSize = 2 * slotSize
	// slotMagic begins a slot: "CVP1".
	slotMagic = 0x31505643
	slotFixed = 32
	// slotRanges is how many stretches a slot can name. What does not fit is delivered once more after a
	// restart, which changes nothing in the database.
	slotRanges = (slotSize - slotFixed) / 16
)

// position is what of a spool was acknowledged, as it stands on disk.
type position struct {
	file       File
	generation uint64 // of the slot written last
	next       uint64 // no sequence from here on was given away yet when it was written
	done       ranges // as found at open
}

// parseSlot reads one slot.
func parseSlot(b []byte) (p position, ok bool) {
	le := binary.LittleEndian
	if len(b) < slotSize || le.Uint32(b) != slotMagic ||
		le.Uint32(b[4:]) != crc32.Checksum(b[8:slotSize], castagnoli) {
		return p, false
	}
	count := int(le.Uint16(b[10:]))
	if le.Uint16(b[8:]) != segmentVersion || count > slotRanges {
		return p, false
	}
	p.generation, p.next = le.Uint64(b[16:]), le.Uint64(b[24:])
	for i := range count {
		at := b[slotFixed+16*i:]
		p.done = p.done.add(sequences{le.Uint64(at), le.Uint64(at[8:])})
	}
	return p, true
}

// putSlot writes a slot's bytes.
func putSlot(generation, next uint64, done ranges) []byte {
	b := make([]byte, slotSize)
	le := binary.LittleEndian
	le.PutUint32(b, slotMagic)
	done = done[:min(len(done), slotRanges)]
	le.PutUint16(b[8:], segmentVersion)
	le.PutUint16(b[10:], uint16(len(done)))
	le.PutUint64(b[16:], generation)
	le.PutUint64(b[24:], next)
	for i, s := range done {
		le.PutUint64(b[slotFixed+16*i:], s.from)
		le.PutUint64(b[slotFixed+16*i+8:], s.to)
	}
	le.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// load reads the newer slot that holds. A file that says nothing is the same as none: everything is waiting.
func (p *position) load(files Files) {
	file, err := files.Open(positionName)
	if err != nil {
		return
	}
	b := make([]byte, positionSize)
	n, _ := file.ReadAt(b, 0)
	found := false
	for at := 0; at+slotSize <= n; at += slotSize {
		if slot, ok := parseSlot(b[at:]); ok && (!found || slot.generation > p.generation) {
			*p, found = slot, true
		}
	}
	if !found || n < positionSize {
		// Its room is not certain to be there, or its slots are of no use: a new one takes its place.
		_ = file.Close()
		return
	}
	p.file = file
}

// store makes a position durable. A file that fails once is not used again: whether a later fsync tells the
// truth about earlier writes nobody knows.
func (p *position) store(files Files, next uint64, done ranges) error {
	slot := putSlot(p.generation+1, next, done)
	if p.file != nil {
		_, err := p.file.WriteAt(slot, int64((p.generation+1)%2)*slotSize)
		if err == nil {
			err = p.file.Sync()
		}
		if err == nil {
			p.generation++
			return nil
		}
		_ = p.file.Close()
		p.file = nil
	}
	if err := p.replace(files, slot); err != nil {
		return fmt.Errorf("write position: %w", err)
	}
	p.generation++
	return nil
}

// replace writes a new file and gives it the old one's name.
func (p *position) replace(files Files, slot []byte) error {
	_ = files.Remove(positionNew) // left over from a crash
	file, err := files.Create(positionNew)
	if err != nil {
		return err
	}
	// Both slots are the same at first: all the room is taken now.
	_, err = file.WriteAt(append(slot, slot...), 0)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = files.Rename(positionNew, positionName)
	}
	if err == nil {
		err = files.Sync()
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	p.file = file
	return nil
}
