package lineproto

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// The document has a row for every reason, in order, and each example is rejected for that reason.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/line-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## What is rejected")
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| .* \\| (?:`(.*)` )?\\|$")
	rows := row.FindAllStringSubmatch(section, -1)
	if len(rows) != int(Reasons) {
		t.Fatalf("the document has %d reasons, there are %d", len(rows), Reasons)
	}
	var d Decoder
	var p point.Point
	for i, row := range rows {
		reason, example := row[1], row[2]
		if reason != Reason(i).String() {
			t.Fatalf("row %d is about %q, want %q", i, reason, Reason(i))
		}
		if example == "" {
			continue
		}
		d.Start([]byte(example), Nanosecond, &p)
		if outcome := d.Next(&p); outcome != Rejected || d.Reason().String() != reason {
			t.Fatalf("the example %q of %s gives %s, %s", example, reason, outcome, d.Reason())
		}
	}
}
