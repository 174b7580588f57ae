package influx

import (
	"bytes"
	"strings"
)

// What is counted in a body: each refused line of InfluxDB 1.x and of 3.x. The second cannot stand inside of
// a JSON string, where quotes have a backslash before them.
const (
	unparsedMark   = "unable to parse '"
	lineNumberMark = `"line_number":`
	droppedMark    = "dropped="
)

// matches counts a word in a text that comes in pieces. The word must not begin like it ends, so that no two
// places overlap.
type matches struct {
	count int
	begun int // how much of the word the text so far ends with
}

// feed reads on.
func (m *matches) feed(b []byte, word string) {
	i := 0
	for m.begun > 0 && i < len(b) {
		m.step(b[i], word)
		i++
	}
	for i < len(b) {
		at := bytes.Index(b[i:], []byte(word))
		if at < 0 {
			break
		}
		m.count++
		i += at + len(word)
	}
	// What is left holds no whole word; its end may hold the beginning of one.
	for i = max(i, len(b)-len(word)+1); i < len(b); i++ {
		m.step(b[i], word)
	}
}

// step reads one byte.
func (m *matches) step(c byte, word string) {
	for m.begun > 0 && word[m.begun] != c {
		m.begun = border(word, m.begun)
	}
	if word[m.begun] == c {
		m.begun++
	}
	if m.begun == len(word) {
		m.count++
		m.begun = 0
	}
}

// border is the length of the longest proper beginning of word[:n] that is also its end.
func border(word string, n int) int {
	for k := n - 1; k > 0; k-- {
		if word[:k] == word[n-k:n] {
			return k
		}
	}
	return 0
}

// tail keeps the last bytes of a text that comes in pieces.
type tail struct {
	bytes  [textMax]byte
	length int
}

// feed reads on.
func (t *tail) feed(b []byte) {
	if len(b) >= textMax {
		t.length = copy(t.bytes[:], b[len(b)-textMax:])
		return
	}
	if over := t.length + len(b) - textMax; over > 0 {
		copy(t.bytes[:], t.bytes[over:t.length])
		t.length -= over
	}
	t.length += copy(t.bytes[t.length:], b)
}

// dropped is the number behind the last "dropped=": how many points InfluxDB 1.x and 2.x say they refused.
// The last one is the server's own; earlier ones may be quoted from a point.
func (t *tail) dropped() int {
	text := string(t.bytes[:t.length])
	at := strings.LastIndex(text, droppedMark)
	if at < 0 {
		return 0
	}
	n := 0
	for _, c := range text[at+len(droppedMark):] {
		if c < '0' || c > '9' || n > 1<<30 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
