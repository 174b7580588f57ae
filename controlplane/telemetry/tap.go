package telemetry

import "time"

// TappedPoint is one point as it passed, or one line that was none.
type TappedPoint struct {
	Taken    time.Time    `json:"taken"` // when its packet came
	Listener string       `json:"listener"`
	Source   string       `json:"source"` // address and port
	Worker   string       `json:"worker"`
	Line     string       `json:"line"`               // as rules see it, with the listener's tags
	Rejected string       `json:"rejected,omitempty"` // why it is no point
	Rules    []TappedRule `json:"rules"`
}

// TappedRule is one rule that the point met.
type TappedRule struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // alert | record | keep | drop
	// Holds is "yes" or "no", and "past" where the condition looks at more than this point.
	Holds string `json:"holds"`
}

// TapEvent is the name of the server-sent events that carry tapped points.
const TapEvent = "point"
