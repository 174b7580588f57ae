package influx

import "strings"

// verdict is what an answer means for the request's points.
type verdict uint8

const (
	// verdictWritten: all of them are in the database.
	verdictWritten verdict = iota
	// verdictPartial: all but some are.
	verdictPartial
	// verdictRefused: one of them or more spoils the request; none is certain to be stored.
	verdictRefused
	// verdictTooLarge: the request is too long.
	verdictTooLarge
	// verdictHold: the target is wrong, not the points; somebody must mend it.
	verdictHold
	// verdictRetry: the same request may succeed later.
	verdictRetry
)

// judge classifies an answer to a request of so many points by its status and its words, since versions
// differ. rejected is how many points it refused: at least one for verdictPartial; for verdictRefused all
// or, if that is not known, 0.
func judge(r *response, points int) (v verdict, rejected int) {
	switch s := r.status; {
	case s == 200 && r.page:
		// It comes from another server, or from a proxy that wants a login: no database answers so.
		return verdictHold, 0
	case s < 300:
		return verdictWritten, 0
	case s == 413:
		return verdictTooLarge, 0
	case s == 400 || s == 422:
		return judgeRefusal(r, points)
	case s == 500 && aboutPoints(r.message()):
		// Some versions answer 500 where others answer 400 or 422; no retry would help.
		return judgeRefusal(r, points)
	case s == 500 && strings.HasPrefix(r.message(), "retention policy not found"):
		return verdictHold, 0
	case s == 408 || s == 425 || s == 429 || s >= 500:
		return verdictRetry, 0
	}
	// Credentials, a missing database, a path that the server does not have, a redirection.
	return verdictHold, 0
}

// aboutPoints tells whether words speak of values that the database will never take.
func aboutPoints(message string) bool {
	return strings.Contains(message, "field type conflict") ||
		strings.Contains(message, "points beyond retention policy")
}

// judgeRefusal tells a partial write from a refusal of everything. The server's words come before anything
// that it quotes from a point, so that a point cannot make a refusal look like a partial write.
func judgeRefusal(r *response, points int) (verdict, int) {
	message := r.message()
	if message == "database is required" {
		return verdictHold, 0
	}
	partial := strings.Index(message, "partial write")
	quoted := strings.Index(message, unparsedMark)
	if partial < 0 || quoted >= 0 && quoted < partial {
		if r.versionOne && quoted == 0 {
			// InfluxDB 1.x stores what it can read and answers so only when that is nothing.
			return verdictRefused, points
		}
		return verdictRefused, 0
	}
	rejected := r.lineNumbers.count
	if rejected == 0 {
		rejected = r.tail.dropped()
		if quoted >= 0 {
			rejected += r.unparsed.count
		}
	}
	return verdictPartial, min(max(rejected, 1), points)
}
