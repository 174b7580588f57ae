package loadgen

import "fmt"

// Report is what was sent: given to the kernel without an error. What became of it on the way UDP does not
// say.
type Report struct {
	Packets uint64 `json:"packets"`
	Points  uint64 `json:"points"`
	Bytes   uint64 `json:"bytes"` // of payload
	// Seconds is the time the run took; with a rate, at least what the schedule gave to what was sent.
	Seconds float64 `json:"seconds"`
	// Rate is points per second reached; TargetRate what was asked for, 0 if nothing was.
	Rate       float64 `json:"rate"`
	TargetRate float64 `json:"target_rate"`
	// Held tells that at least 99 % of the rate was reached; without a rate it is true.
	Held bool `json:"held"`
	// Interrupted tells that the context ended the run.
	Interrupted bool `json:"interrupted"`
	// Violations is how many points have a temperature above 95.
	Violations uint64 `json:"violations"`
	Series     int    `json:"series"`
	Flows      int    `json:"flows"`
	PacketSize int    `json:"packet_size"` // of a full packet's payload, in bytes
	// FlowPoints is how many points left by each flow, if they have sequence numbers: those of flow f are
	// numbered f × 10¹³ + 0, 1, 2 …, with a 1 in front of the 17 digits. What a receiver has seen less than
	// this of a flow is lost.
	FlowPoints []uint64 `json:"flow_points,omitempty"`
	// Via is how packets left: socket, xdp or live; Mode says it in words. ZeroCopy tells that the card read
	// them where they were written; otherwise the kernel has copied them.
	Via      string `json:"via"`
	Mode     string `json:"mode"`
	ZeroCopy bool   `json:"zero_copy"`
	// Recorded is what the played file holds.
	Recorded *Recorded `json:"recorded,omitempty"`
	// LagMax is how far behind its schedule a burst ever began, in seconds.
	LagMax float64 `json:"lag_max_seconds"`
	// FirstTime and LastTime are the points' least and greatest timestamp, in nanoseconds; 0 without any.
	FirstTime int64 `json:"first_time"`
	LastTime  int64 `json:"last_time"`
	// Errors counts what the kernel refused, by the error's name. A packet that was refused is sent again.
	Errors map[string]uint64 `json:"errors"`
}

// heldShare is the part of the rate that counts as having held it.
const heldShare = 0.99

func (r Report) String() string {
	text := fmt.Sprintf("%d points in %d packets (%d bytes) in %.3f s: %.0f points/s, %.0f packets/s",
		r.Points, r.Packets, r.Bytes, r.Seconds, r.Rate, float64(r.Packets)/max(r.Seconds, 1e-9))
	if r.TargetRate > 0 {
		text += fmt.Sprintf(", %.2f %% of the rate", 100*r.Rate/r.TargetRate)
	}
	for name, n := range r.Errors {
		text += fmt.Sprintf("; %s %d times", name, n)
	}
	if r.Mode != "" {
		text += " (" + r.Mode + ")"
	}
	return text
}
