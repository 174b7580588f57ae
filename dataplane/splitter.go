package dataplane

import (
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
)

// Splitter sorts lines by the URLs that own their series. It is not for use from several goroutines.
type Splitter struct {
	// Bodies are the lines of each URL and Points their number, valid until the next Split.
	Bodies [][]byte
	Points []int

	decoder lineproto.Decoder
	encoder lineproto.Encoder
	point   point.Point
}

// Split sorts a body's lines, whose timestamps are in nanoseconds, by the table among so many URLs; without a
// table all are the first one's. It reports false where the table knows more URLs: nothing is sorted then.
func (s *Splitter) Split(body []byte, urls int, table *shard.Table) bool {
	for len(s.Bodies) < urls {
		s.Bodies, s.Points = append(s.Bodies, nil), append(s.Points, 0)
	}
	s.Bodies, s.Points = s.Bodies[:urls], s.Points[:urls]
	for i := range s.Bodies {
		s.Bodies[i], s.Points[i] = s.Bodies[i][:0], 0
	}
	s.decoder.Start(body, lineproto.Nanosecond, &s.point)
	for {
		url := 0
		switch s.decoder.Next(&s.point) {
		case lineproto.End:
			return true
		case lineproto.OK:
			if table != nil {
				url = table.Find(shard.Hash(&s.point))
			}
			if url >= urls {
				return false
			}
			if text, ok := s.encoder.Append(s.Bodies[url], &s.point); ok {
				s.Bodies[url] = text
				s.Points[url]++
				continue
			}
		}
		// No worker writes such a line. Should there be one, the server is the judge of it.
		s.Bodies[url] = append(append(s.Bodies[url], s.point.Bytes(s.decoder.Line())...), '\n')
		s.Points[url]++
	}
}
