package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTablesFindTheirTexts holds a table against a map, with texts that differ in one byte anywhere, and with
// nothing or something behind a text in its memory.
func TestTablesFindTheirTexts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for length := 1; length <= 40; length++ {
		want := map[string]int32{}
		base := strings.Repeat("a", length)
		for at := range length {
			want[base[:at]+"b"+base[at+1:]] = int32(at)
		}
		var texts []string
		var numbers []int32
		for text, number := range want {
			texts, numbers = append(texts, text), append(numbers, number)
		}
		table := newTable(texts, numbers)
		for range 200 {
			text := []byte(base)
			for range random.IntN(3) {
				text[random.IntN(length)] = "abc"[random.IntN(3)]
			}
			number, ok := want[string(text)]
			if !ok {
				number = -1
			}
			behind := append([]byte(nil), fmt.Sprintf("%s%d", text, random.Int())...)[:length]
			if got := table.find(text[:length:length]); got != int(number) {
				t.Fatalf("%q is %d, want %d", text, got, number)
			}
			if got := table.find(behind); got != int(number) {
				t.Fatalf("%q with bytes behind it is %d, want %d", text, got, number)
			}
			if s := newSpelling(texts[0]); s.is(behind) != (texts[0] == string(text)) {
				t.Fatalf("%q is %q: %t", text, texts[0], s.is(behind))
			}
		}
		if got := table.find([]byte(base + "b")); got != -1 {
			t.Fatalf("a longer text is %d", got)
		}
	}
}
