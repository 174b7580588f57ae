package lineproto

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A word holds eight bytes of text, the first in its lowest byte. The tests below set the top bit of
// bytes that match. A borrow may set it in bytes above a match too, never below: the lowest match is
// exact, and that is the only one which is used.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// equal marks the bytes of w that are c, given c in all bytes.
func equal(w, c uint64) uint64 {
	w ^= c
	return (w - ones) &^ w
}

// below marks the ASCII bytes of w that are smaller than c, given c in all bytes.
func below(w, c uint64) uint64 { return (w - c) &^ w }

// word is the eight bytes from i on; behind the end of the text they are NUL, which ends every name.
func word(b []byte, i int) uint64 {
	if i+8 <= len(b) {
		return binary.LittleEndian.Uint64(b[i:])
	}
	if n := len(b); n >= 8 {
		return binary.LittleEndian.Uint64(b[n-8:]) >> (uint(i+8-n) * 8)
	}
	var w uint64
	for j := len(b) - 1; j >= i; j-- {
		w = w<<8 | uint64(b[j])
	}
	return w
}

// nameEnd finds where a name may end: the first space, control character, comma, equals sign or backslash
// from i on, or the end of the text. rare has a top bit set if there may be bytes on the way that are not
// plain ASCII: DEL, or a part of a longer UTF-8 sequence. It may have one set for bytes behind the end
// too.
func nameEnd(b []byte, i int) (end int, rare uint64) {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i : i+8])
		rare |= w | (w + ones)
		if stops := nameStops(w); stops != 0 {
			return i + bits.TrailingZeros64(stops)>>3, rare
		}
	}
	w := word(b, i)
	rare |= w | (w + ones)
	return min(i+bits.TrailingZeros64(nameStops(w))>>3, len(b)), rare
}

// nameStops marks the bytes that may end a name.
func nameStops(w uint64) uint64 {
	return (below(w, '!'*ones) | equal(w, ','*ones) | equal(w, '='*ones) | equal(w, '\\'*ones)) & highs
}

// stringEnd finds the first quote or backslash from i on, or the end of the text.
func stringEnd(b []byte, i int) int {
	for i < len(b) {
		w := word(b, i)
		stops := equal(w, '"'*ones) | equal(w, '\\'*ones)
		if stops &= highs; stops != 0 {
			return i + bits.TrailingZeros64(stops)>>3
		}
		i += 8
	}
	return len(b)
}

// eightDigits is the value of a word of decimal digits.
func eightDigits(w uint64) uint64 {
	// Pairs, then fours, then all eight: each step joins neighbours by one multiplication.
	w -= '0' * ones
	w = w*10 + w>>8
	const pairs = 0x000000ff000000ff
	return ((w&pairs)*(100+1000000<<32) + (w>>16&pairs)*(1+10000<<32)) >> 32
}

// lineEnds tells whether the line ends at i: at its LF, at the CR before it, or with the payload.
func lineEnds(b []byte, i int) bool {
	if i >= len(b) || b[i] == '\n' {
		return true
	}
	return b[i] == '\r' && (i+1 == len(b) || b[i+1] == '\n')
}

// lineCut finds the end of a line that began at start: the first LF from i on or the payload's end, and
// before that, where the line's own text ends: a CR does not belong to it.
func lineCut(b []byte, start, i int) (text, lf int) {
	lf = len(b)
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		lf = i + n
	}
	text = lf
	if text > start && b[text-1] == '\r' {
		text--
	}
	return text, lf
}
