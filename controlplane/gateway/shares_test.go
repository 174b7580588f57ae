package gateway

import (
	"fmt"
	"strings"
	"testing"

	"culvert/controlplane/config"
)

// Goal: what check says of a sample is how the workers will share it out: each series once, with all of its
// points.
func TestSharesOf(t *testing.T) {
	c := config.Sink{Name: "main", URLs: []string{"http://a", "http://b", "http://c"}}
	var text strings.Builder
	const series = 3000
	for i := range 2 * series {
		fmt.Fprintf(&text, "plant,line=l%d,sensor=s%d v=%d\n", i%series%7, i%series, i)
	}
	text.WriteString("# a comment\n\nthis is no point\n")
	shares, err := SharesOf(&c, strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i, n := range shares.Series {
		sum += n
		if n < series/4 || shares.Points[i] != 2*n {
			t.Errorf("%s has %d series and %d points", c.URLs[i], n, shares.Points[i])
		}
	}
	if sum != series || shares.Unread != 1 {
		t.Errorf("%d series, %d lines unread", sum, shares.Unread)
	}
	if _, err := SharesOf(&c, strings.NewReader(strings.Repeat("x", lineMax+1))); err == nil {
		t.Error("a line beyond all bounds is accepted")
	}
}
