package rules

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// liveKeys is how many keys TestKeysLiveAtOnce keeps; CULVERT_KEYS asks for another number, such as ten
// million, which take seven gigabytes and a minute and a half.
const liveKeys = 100_000

// keysAsked is the number of keys that CULVERT_KEYS asks for, or another one.
func keysAsked(t *testing.T, otherwise int) int {
	t.Helper()
	text := os.Getenv("CULVERT_KEYS")
	if text == "" {
		return otherwise
	}
	keys, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Goal: as many keys as max_keys allows are remembered at once, each with its alert and its window; none is
// let go, counted twice or mixed up with another, and the memory is what docs/rules.md says. One more takes
// the place of the longest idle and is counted. Method: every key has two points, the second ones in another
// order, of which every tenth ends the key's alert.
func TestKeysLiveAtOnce(t *testing.T) {
	keys := keysAsked(t, liveKeys)
	set := compileOf(t, ruleOf("Hot", "m", "x > 0", "machine"), ruleOf("Window", "m", "sum(x[1h]) < 0",
		"machine"))
	before := heap()
	e := NewEvaluator(set, Config{Workers: 1, KeysMax: keys})
	p := pointOf(t, "m,machine=m x=1 1")
	var name []byte
	at := int64(0)
	turn := func(key int, x float64) {
		at += 100
		name = strconv.AppendInt(append(name[:0], "machine "...), int64(key), 10)
		p.ScratchBytes, p.Time = name, at
		p.Tags[0].Value = point.MakeSpan(point.Scratch, 0, len(name))
		p.Fields[0].Bits = floatValue(x).bits
		e.Eval(p, at)
		e.Taken(len(e.Transitions()))
	}
	for key := range keys {
		turn(key, 1)
	}
	step := 7919 // a prime, so that all keys are met
	for keys%step == 0 {
		step += 2
	}
	ended := 0
	for i, key := 0, 0; i < keys; i, key = i+1, (key+step)%keys {
		if i%10 == 0 {
			turn(key, -1)
			ended++
		} else {
			turn(key, 1)
		}
	}
	var stats [2]RuleStats
	e.Stats(stats[:])
	want := [2]RuleStats{
		{Firing: keys - ended, Transitions: uint64(keys + ended)}, {Keys: keys},
	}
	if stats != want {
		t.Errorf("counted %+v, want %+v", stats, want)
	}
	taken := heap() - min(before, heap())
	// Beside what RuleSummary says of a key with a past there are an alert's record, the texts of both in
	// blocks of 64 bytes, a timer, and a share of the directories.
	each := uint64(set.Rules()[1].KeyBytes) + 136 + 2*64 + 24 + 2*16
	if bound := uint64(keys)*each + 32<<20; taken > bound {
		t.Errorf("%d keys take %d MiB, want at most %d", keys, taken>>20, bound>>20)
	}
	t.Logf("%d keys at once: %d MiB, %d bytes each, at most %d expected; %s", keys, taken>>20,
		taken/uint64(keys), each, residentSet(t))

	for key := keys; key < keys+100; key++ {
		turn(key, 1)
	}
	e.Stats(stats[:])
	if stats[1].Keys != keys || stats[1].Evicted != 100 {
		t.Errorf("with 100 more: %+v", stats)
	}
}

// residentSet is what the kernel says this process takes.
func residentSet(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			said = append(said, strings.Join(strings.Fields(line), " "))
		}
	}
	return fmt.Sprint(said)
}
