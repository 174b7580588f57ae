package point

import "unsafe"

// borrowString lets strconv read text in place. The string is valid as long as the bytes are left alone, and
// must not be kept.
func borrowString(text []byte) string {
	return unsafe.String(unsafe.SliceData(text), len(text))
}
