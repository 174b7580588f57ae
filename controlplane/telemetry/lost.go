package telemetry

import (
	"fmt"
	"strings"
	"time"

	"culvert/bpf/abi"
	"culvert/dataplane"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
)

const (
	// lifeless is how long a worker shows no life before it is told. It shows some ten times a second.
	lifeless = time.Second
	// spoolShare is how much of its room a spool may take, in parts of a hundred, before it is told.
	spoolShare = 50
	// damagedEnd is the end of the names of what a spool keeps aside (docs/spool-format.md).
	damagedEnd = ".bad"
)

// lostOf is everything so far that did not reach the database and should have, or was refused: each term of
// the two balances that is a loss, by what a reason says of it.
func lostOf(s *Snapshot, c *dataplane.Counters) map[string]uint64 {
	lost := map[string]uint64{}
	spool := s.spools(c.PointsSpooled)
	for i, n := range c.PointsDropped {
		lost["points dropped, "+dataplane.Drop(i).String()] = n + spool.Dropped[i]
	}
	for i, n := range c.PointsRejected {
		lost["lines rejected, "+lineproto.Reason(i).String()] = n
	}
	for i, n := range c.PointsSinkRejected {
		lost["points rejected at the sink, "+dataplane.SinkReject(i).String()] = n + spool.Rejected[i]
	}
	for i, n := range c.FramesRejected {
		lost["packets rejected, "+dataplane.FrameReject(i).String()] = n
	}
	for _, in := range s.Interfaces {
		for _, v := range in.Verdicts {
			if DroppedByXDP(v.Name) {
				lost[fmt.Sprintf("packets dropped by XDP on %s, %s", in.Name, v.Name)] += v.Count
			}
		}
		for _, q := range in.Queues {
			for reason, n := range q.Drops {
				lost[fmt.Sprintf("packets lost on %s, %s", in.Name, reason)] += n
			}
		}
	}
	for _, l := range s.Listeners {
		lost["packets dropped by the kernel's socket of "+l.Name] = l.KernelDrops
	}
	return lost
}

// DroppedByXDP tells whether packets of a verdict end in the XDP program.
func DroppedByXDP(name string) bool {
	for v := range abi.Verdicts {
		if v.String() == name {
			return v.Dropped()
		}
	}
	return false
}

// standing is what is wrong now, whenever it began.
func standing(s *Snapshot) (reasons []string) {
	reasons = append(reasons, s.Impaired...)
	for i := range s.Workers {
		if w := &s.Workers[i]; w.Heartbeat > lifeless {
			reasons = append(reasons, fmt.Sprintf("worker %s shows no life since %s", w.Name,
				Short(w.Heartbeat.Seconds())))
		}
	}
	for i := range s.Sinks {
		sink := &s.Sinks[i]
		// One that is down has a reason of its own already.
		if sink.Breaker != influx.BreakerClosed && sink.Up {
			reasons = append(reasons, fmt.Sprintf("sink %s: the breaker of %s is %s", sink.Name, sink.URL,
				strings.ReplaceAll(sink.Breaker.String(), "_", " ")))
		}
		if spool := sink.Spool; spool != nil && sink.SpoolMax > 0 &&
			spool.Disk.Bytes*100 > sink.SpoolMax*spoolShare {
			reasons = append(reasons, fmt.Sprintf("sink %s: the spool of %s takes %d %% of its room",
				sink.Name, sink.URL, spool.Disk.Bytes*100/sink.SpoolMax))
		}
		if spool := sink.Spool; spool != nil && spool.DiskError != "" {
			reasons = append(reasons, fmt.Sprintf("sink %s: the spool of %s does not get to disk: %s",
				sink.Name, sink.URL, spool.DiskError))
		}
		// It stays until a person has looked and removed it.
		if spool := sink.Spool; spool != nil && spool.Disk.BadBytes > 0 {
			reasons = append(reasons, fmt.Sprintf("sink %s: the spool of %s was damaged: %d bytes are kept "+
				"aside in its folder as *%s", sink.Name, sink.URL, spool.Disk.BadBytes, damagedEnd))
		}
	}
	return reasons
}
