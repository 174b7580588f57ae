package rules

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// wordAt is the eight bytes of a text from a place on. The caller has seen that they lie in the text: a dozen
// words of a point are looked at, and a second check of each is a tenth of what rules take. Builds with the
// tag verify make it all the same.
func wordAt(text []byte, at int) uint64 {
	if verify && (at < 0 || at+8 > len(text)) {
		panic(fmt.Sprintf("BUG: word %d of a text of %d", at, len(text)))
	}
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(text)), at))[:])
}
