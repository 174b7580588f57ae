package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"culvert/controlplane/config"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
)

// lineMax bounds a line of a file of series, in bytes: what a packet can hold.
const lineMax = 64 << 10

// Shares are how the series of a sample would be shared out among a sink's URLs.
type Shares struct {
	// Series counts different ones, by URL; Points all lines that could be read, by URL.
	Series, Points []int
	// Unread counts lines that are no points.
	Unread int
}

// SharesOf reads Line Protocol, a line each, and finds the URL of each series. It is for a sink whose routing
// goes by series.
func SharesOf(c *config.Sink, sample io.Reader) (Shares, error) {
	table, err := shard.NewTable(Members(c))
	if err != nil {
		return Shares{}, fmt.Errorf("sink %q: %w", c.Name, err)
	}
	shares := Shares{Series: make([]int, len(c.URLs)), Points: make([]int, len(c.URLs))}
	seen := map[uint64]bool{}
	var decoder lineproto.Decoder
	var p point.Point
	lines := bufio.NewScanner(sample)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		decoder.Start(lines.Bytes(), lineproto.Nanosecond, &p)
		switch decoder.Next(&p) {
		case lineproto.Rejected:
			shares.Unread++
		case lineproto.OK:
			hash := shard.Hash(&p)
			url := table.Find(hash)
			shares.Points[url]++
			if !seen[hash] {
				seen[hash] = true
				shares.Series[url]++
			}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Shares{}, fmt.Errorf("read the sample: a line is longer than %d bytes", lineMax)
	} else if err != nil {
		return Shares{}, fmt.Errorf("read the sample: %w", err)
	}
	return shares, nil
}
