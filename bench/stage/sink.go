package stage

import (
	"context"
	"encoding/json"
	"fmt"

	"culvert/scripts/lab"
)

// Sink is what a gateway writes to.
type Sink interface {
	URL() string
	// Count finds out how many points it holds.
	Count(ctx context.Context) (uint64, error)
	Child() *lab.Child
	Close() error
}

// countSink is `culvert sink --count` on the sender's CPU.
type countSink struct {
	stage *Stage
	child *lab.Child
}

// OpenSink starts `culvert sink --count`.
func (s *Stage) OpenSink(ctx context.Context) (Sink, error) {
	child, err := s.run(s.Places.SenderList(), "sink", s.Culvert, "sink", "--count", "--listen", sinkAddress)
	if err != nil {
		return nil, err
	}
	sink := &countSink{s, child}
	return sink, lab.Await(ctx, "culvert sink", child, func() error {
		_, err := sink.Count(ctx)
		return err
	})
}

func (s *countSink) URL() string       { return "http://" + sinkAddress }
func (s *countSink) Child() *lab.Child { return s.child }
func (s *countSink) Close() error      { return s.child.Stop() }

func (s *countSink) Count(ctx context.Context) (uint64, error) {
	body, err := s.stage.fetch(ctx, sinkAddress, "/stats")
	if err != nil {
		return 0, err
	}
	var stats struct {
		Points uint64 `json:"points"`
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return 0, fmt.Errorf("read the sink's figures: %w", err)
	}
	return stats.Points, nil
}
