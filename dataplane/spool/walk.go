package spool

import (
	"bytes"
	"encoding/binary"
)

// spanState says what a stretch of a segment is.
type spanState uint8

const (
	// spanWhole is a record whose header holds and whose body is all there; the body is not checked yet.
	spanWhole spanState = iota
	// spanTorn is the end of a file that was being written when the power went, or the process: a record that
	// was begun, or space that was never written.
	spanTorn
	// spanCorrupt is bytes that were written and are no record any more.
	spanCorrupt
)

// span is a stretch of a segment.
type span struct {
	from, to int64
	state    spanState
	header   header // of a whole record
}

// findStep is how much is read at once while looking for the next record.
const findStep = 256 << 10

// walker goes through the records of one segment by their headers.
type walker struct {
	file   File
	salt   uint64
	head   [recordHead]byte
	window []byte // findStep, when it was needed
}

// at tells what begins at from in a segment of end bytes; from lies before end. What cannot be read counts as
// corrupt.
func (w *walker) at(from, end int64) span {
	if end-from < recordHead {
		return span{from: from, to: end, state: spanTorn}
	}
	_, err := w.file.ReadAt(w.head[:], from)
	if err == nil {
		if h, ok := parseHeader(w.head[:], w.salt); ok {
			if h.size() > end-from {
				return span{from: from, to: end, state: spanTorn}
			}
			return span{from: from, to: from + h.size(), header: h}
		}
	}
	next := w.find(from+1, end)
	if next == end && err == nil && bytes.Equal(w.head[:], make([]byte, recordHead)) {
		return span{from: from, to: end, state: spanTorn}
	}
	return span{from: from, to: next, state: spanCorrupt}
}

// find looks for the next header that holds and whose record lies before end. It returns end if there is
// none.
func (w *walker) find(from, end int64) int64 {
	if w.window == nil {
		w.window = make([]byte, findStep)
	}
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], recordMagic)
	for end-from >= recordHead {
		window := w.window[:min(int64(len(w.window)), end-from)]
		n, err := w.file.ReadAt(window, from)
		for at := 0; n-at >= recordHead; at++ {
			next := bytes.Index(window[at:n], magic[:])
			if next < 0 || n-at-next < recordHead {
				break
			}
			at += next
			if h, ok := parseHeader(window[at:n], w.salt); ok && from+int64(at)+h.size() <= end {
				return from + int64(at)
			}
		}
		if err != nil {
			from += int64(len(window)) // unreadable: what lies behind it may be sound
			continue
		}
		// A header may begin in the last bytes of this window.
		from += int64(len(window) - recordHead + 1)
	}
	return end
}
