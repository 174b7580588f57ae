package lineproto

import "unsafe"

// borrowString lets strconv read text in place. The string is valid as long as the bytes are left alone, and
// must not be kept.
func borrowString(text []byte) string {
	return unsafe.String(unsafe.SliceData(text), len(text))
}

// borrowBytes lets text be read like a name of a point. The bytes must not be written to.
func borrowBytes(text string) []byte {
	return unsafe.Slice(unsafe.StringData(text), len(text))
}
