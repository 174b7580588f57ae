package yamlfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/parser"
)

func repeat(text string, n int) string { return strings.Repeat(text, n) }

// stairs are keys or list entries, each deeper by a column than the one before.
func stairs(entry string, n int) string {
	var out strings.Builder
	for i := range n {
		out.WriteString(repeat(" ", i) + entry + "\n")
	}
	return out.String()
}

// numbered is a line for each number.
func numbered(format string, n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, format+"\n", i)
	}
	return out.String()
}

// Goal: what keeps the library busy is refused where it begins to be too much, and what people write is not.
func TestExcess(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		for range 2 {
			_, e := Tokens(text)
			got := ""
			if e != nil {
				got = fmt.Sprintf("%d:%d: %s (%s)", e.Line, e.Column, e.Message, e.Remedy)
			}
			if got != want {
				t.Errorf("%.60q: %q, want %q", text, got, want)
			}
		}
	}
	const deep = "lists and mappings stand more than 64 deep in each other (nothing here needs more than ten)"
	f(repeat("[", 64), "")
	f(repeat("[", 65), "1:65: "+deep)
	f("a: 1\nb:\n  "+repeat("{a: ", 63), "")
	f("a: 1\nb:\n  "+repeat("{a: ", 64), "3:255: "+deep)
	f(repeat("- ", 64)+"x", "")
	f(repeat("- ", 65)+"x", "1:129: "+deep)
	f(repeat("? ", 65)+"x", "1:129: "+deep)
	f(stairs("a:", 64), "")
	f(stairs("a:", 65), "65:65: "+deep)
	f("["+repeat("- ", 64)+"x]", "1:128: "+deep)
	f(repeat("[]", 1000), "")
	f(repeat("- [{a: [1, {b: 2}]}]\n", 500), "")
	f(repeat("a:\n- b:\n  - c: 1\n- d: 2\n", 300), "")
	f(`"`+repeat("[", 1000)+`"`, "")
	f("# "+repeat("[", 1000)+"\na: |\n  "+repeat("[", 1000)+"\nb: x"+repeat("[", 1000), "")

	f(repeat("k", 1024)+": 1", "")
	f("a: 1\n"+repeat("k", 1025)+": 1",
		"2:1: a key of 1025 bytes, more than 1024 (long texts go behind a colon)")
	f("{"+numbered("a%d: 1,", 1000)+"}", "")
	f("{"+numbered("a%d: 1,", 1001)+"}", "1001:1: a mapping of more than 1000 keys (split it)")
	f(numbered("a%d: 1", 1000), "")
	f("b:\n"+numbered(" a%d: 1", 1001), "1002:2: a mapping of more than 1000 keys (split it)")
	f(repeat("k", 1000)+":\n  "+repeat("k", 1000)+": ["+repeat("1,", 130_000)+"]", "")
	f(repeat("k", 1000)+":\n  "+repeat("k", 1000)+": ["+repeat("1,", 140_000)+"]",
		"2:267835: too many values below long keys (shorten the keys around it)")

	const empty = ": more than 1000 keys and list entries without a value (give them one, or remove them)"
	f(repeat("-\n", 1000), "")
	f(repeat("-\n", 1002), "1001:1"+empty)
	f("{"+repeat("a,", 1000)+"}", "")
	f("{"+repeat("a,", 1001)+"}", "1:2002"+empty)
	f(repeat("- a:\n", 1000), "")
	f(repeat("- a:\n", 1002), "1001:4"+empty)
	f(repeat("- a:\n  - b\n", 2000), "")

	f(repeat("a: &b 1\n---\n", 16), "")
	f(repeat("--- a\n", 17), "17:1: more than 16 documents (a file is one)")
	f(repeat("- &b 1\n", 200)+repeat("- *b\n", 56), "")
	f(repeat("- &b 1\n", 200)+repeat("- *b\n", 57),
		"257:3: more than 256 anchors, aliases and tags (write the values out)")
	f(repeat("- !a b\n", 257), "257:3: more than 256 anchors, aliases and tags (write the values out)")

	const blank = "2:1: more than 100 empty lines behind this one (remove them)"
	f("a: |\n  b\n"+repeat(" \n", 100)+"c: 1", "")
	f("a: |\r\n  b\r\n"+repeat(" \r\n", 101)+"c: 1", blank)
	f("a: |\r  b\r"+repeat("\r", 101)+"c: 1", blank)
	f("ä: \""+repeat("\t", 256)+"\"", "")
	f("ä: \""+repeat("\t", 257)+"\"", "1:261: more than 256 tabs in a line (use spaces)")
	f("ä: "+repeat("<", 256), "")
	f("ä: "+repeat("<", 257), "1:4: more than 256 < in a row (remove them)")
}

// Goal: no file keeps anybody waiting. Method: 64 KiB of each of those that did, as a megabyte for minutes;
// the parser is given what is not refused.
func TestHostileTexts(t *testing.T) {
	const size = 1 << 16
	fill := func(text string) string { return repeat(text, size/len(text)) }
	for _, text := range []string{
		fill("["), fill("{"), fill("{a: "), fill("- "), fill("? "), fill("a: "), fill("[a: "), fill("["),
		fill("!a "), fill("!!str "), fill("&a "), fill("- &a 1\n"), fill("- *a\n"), fill("*a : "),
		fill("-\n"), fill("- a:\n"), "{" + fill("a,"), "[" + fill(","), "[" + fill("a: ,"), fill("<<"),
		fill("<"), fill("<< : "), "a: \"" + fill("\t"), "a: \"" + fill("\t\n"), "a: |\n b" + fill("\n"),
		"a: >\n b" + fill("\n"), "a: >\n" + fill(" b\n\n"), "a: " + fill(" b\n\n"), "a: '" + fill(" b\n \n"),
		fill("---\n"), fill("--- a\n"), fill("...\n"), fill("%a\n---\n"), numbered("a%d: 1", size/12),
		numbered("a%d:", size/12), "- " + numbered("  a%d: &b", size/12), fill("'"), fill(`"`), fill(`"\z`),
		fill("@"), fill("`"), fill("|\n"), fill("| 9\n"), fill("- |\n  x\n"), fill("#"), fill("# a\n"),
		"a: b" + fill(" # c\n"), fill("\ufeff"), fill("\x00"), fill("\r"), fill("\t"), fill(" "), fill("]"),
		fill("}"), fill(","), fill(":"), fill("a"), fill("a:b"), fill("{a:b"), stairs("a:", 1400),
		stairs("- a", 1400), repeat("k", 1000) + ":\n  " + repeat("k", 1000) + ":\n" + fill("   - 1\n"),
		fill("- [a, {b: c}]\n"), "a: [" + fill("'b',") + "]", "a: " + fill("\\"), "a: \"" + fill("\\t"),
	} {
		tokens, e := Tokens(text)
		if e != nil {
			if e.Line < 1 || e.Column < 1 || e.Message == "" || e.Remedy == "" {
				t.Errorf("%.20q: %+v", text, e)
			}
			continue
		}
		// Whether it is right is the parser's business; that it comes to an end is ours.
		_, _ = parser.Parse(tokens, 0)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	f := func(size int, want string) {
		t.Helper()
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		content, err := Read(path)
		got := ""
		if err != nil {
			got, size = err.Error(), 0
		}
		if got != want || len(content) != size {
			t.Errorf("%d bytes, %v, want %q", len(content), err, want)
		}
	}
	f(0, "")
	f(SizeMax, "")
	f(SizeMax+1, "the file is longer than 8388608 bytes: split it")
	if _, err := Read(dir); err == nil || err.Error() != "is a directory" {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Read(dir + "/none"); err == nil || err.Error() != "no such file or directory" {
		t.Errorf("no file: %v", err)
	}
	// A device has no size to be known beforehand, and no end.
	if _, err := Read("/dev/zero"); err == nil || !strings.HasPrefix(err.Error(), "the file is longer") {
		t.Errorf("/dev/zero: %v", err)
	}
}

// FuzzTokens: whatever a text is, its excess stands in it, and what has none can be parsed.
func FuzzTokens(f *testing.F) {
	for _, text := range []string{repeat("[", 70), repeat("- ", 70), repeat("{a: ", 70), stairs("a:", 70),
		repeat("- &a *a\n", 200), repeat("-\n", 2000), repeat("--- a\n", 20), "? a\n: [b, {c: d}]\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, e := Tokens(text)
		if e == nil {
			_, _ = parser.Parse(tokens, 0)
			return
		}
		if e.Line < 1 || e.Line > 1+strings.Count(text, "\n")+strings.Count(text, "\r") || e.Column < 1 {
			t.Errorf("excess without a place: %+v", e)
		}
	})
}
