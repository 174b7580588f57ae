package fakesink

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"culvert/dataplane/lineproto"
)

// badLine is a line that was refused.
type badLine struct {
	number int // 1-based, blank lines and comments not counted
	text   string
	reason string
}

// api is what differs between the servers.
type api interface {
	// target reads the query: the database, and the unit of timestamps. The problem is an answer in plain
	// words.
	target(query url.Values) (database string, precision lineproto.Precision, problem string)
	// takesUint tells whether the server knows unsigned integers.
	takesUint() bool
	// refuse answers a body with bad lines and tells whether its good lines are kept.
	refuse(w http.ResponseWriter, query url.Values, bad []badLine, rejected, good uint64) (kept bool)
	// fail answers a request that is wrong as a whole.
	fail(w http.ResponseWriter, code int, problem string)
}

// message is the error document of 1.x and 3.x.
type message struct {
	Error string `json:"error"`
	Lines any    `json:"data,omitempty"`
}

func answer(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The connection may be gone; then nobody waits for the answer.
	_ = json.NewEncoder(w).Encode(document)
}

// unable says of each bad line what 1.x and 2.x say of it.
func unable(bad []badLine) string {
	texts := make([]string, len(bad))
	for i, b := range bad {
		texts[i] = fmt.Sprintf("unable to parse '%s': %s", b.text, b.reason)
	}
	return strings.Join(texts, "\n")
}

// v1 is InfluxDB 1.x.
type v1 struct{}

func (v1) target(query url.Values) (string, lineproto.Precision, string) {
	database := query.Get("db")
	if database == "" {
		return "", 0, "database is required"
	}
	switch word := query.Get("precision"); word {
	case "", "n", "ns":
		return database, lineproto.Nanosecond, ""
	case "u", "us", "µ":
		return database, lineproto.Microsecond, ""
	case "ms":
		return database, lineproto.Millisecond, ""
	case "s", "m", "h":
		// Minutes and hours differ from seconds in their range only.
		return database, lineproto.Second, ""
	default:
		return database, 0, fmt.Sprintf("invalid precision %q (use n, u, ms, s, m or h)", word)
	}
}

func (v1) takesUint() bool { return false }

func (v1) refuse(w http.ResponseWriter, _ url.Values, bad []badLine, rejected, good uint64) bool {
	text := unable(bad)
	if good > 0 {
		text = fmt.Sprintf("partial write: %s dropped=%d", text, rejected)
	}
	answer(w, http.StatusBadRequest, message{Error: text})
	return true
}

func (v1) fail(w http.ResponseWriter, code int, problem string) {
	answer(w, code, message{Error: problem})
}

// v2 is InfluxDB 2.x.
type v2 struct{}

// fault2 is the error document of 2.x.
type fault2 struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (v2) target(query url.Values) (string, lineproto.Precision, string) {
	bucket := query.Get("bucket")
	if bucket == "" {
		return "", 0, "Bucket is required"
	}
	if query.Get("org") == "" && query.Get("orgID") == "" {
		return bucket, 0, "Organization is required"
	}
	word := query.Get("precision")
	if word == "" {
		word = "ns"
	}
	precision, ok := lineproto.ParsePrecision(word)
	if !ok {
		return bucket, 0, fmt.Sprintf("invalid precision %q, valid are ns, us, ms and s", word)
	}
	return bucket, precision, ""
}

func (v2) takesUint() bool { return true }

func (v2) refuse(w http.ResponseWriter, _ url.Values, bad []badLine, _, _ uint64) bool {
	answer(w, http.StatusBadRequest, fault2{Code: "invalid", Message: unable(bad)})
	return false
}

func (v2) fail(w http.ResponseWriter, code int, problem string) {
	kind := "invalid"
	if code == http.StatusRequestEntityTooLarge {
		kind = "request too large"
	}
	answer(w, code, fault2{Code: kind, Message: problem})
}

// v3 is InfluxDB 3.
type v3 struct{}

type line3 struct {
	Line   string `json:"original_line"`
	Number int    `json:"line_number"`
	Reason string `json:"error_message"`
}

func (v3) target(query url.Values) (string, lineproto.Precision, string) {
	database := query.Get("db")
	if database == "" {
		return "", 0, "missing query parameter db"
	}
	names := []string{"nanosecond", "microsecond", "millisecond", "second"}
	word := query.Get("precision")
	if word == "" || word == "auto" {
		// The server goes by each timestamp's magnitude; what is a timestamp in nanoseconds is one.
		return database, lineproto.Nanosecond, ""
	}
	i := slices.Index(names, word)
	if i < 0 {
		return database, 0, fmt.Sprintf("invalid precision %q, want auto or one of %s", word,
			strings.Join(names, ", "))
	}
	precision, _ := lineproto.ParsePrecision([]string{"ns", "us", "ms", "s"}[i])
	return database, precision, ""
}

func (v3) takesUint() bool { return true }

func (v3) refuse(w http.ResponseWriter, query url.Values, bad []badLine, _, _ uint64) bool {
	lines := make([]line3, len(bad))
	for i, b := range bad {
		lines[i] = line3{b.text, b.number, b.reason}
	}
	if query.Get("accept_partial") == "false" {
		answer(w, http.StatusBadRequest, message{"parsing failed for write_lp endpoint", lines[0]})
		return false
	}
	answer(w, http.StatusBadRequest, message{"partial write of line protocol occurred", lines})
	return true
}

func (v3) fail(w http.ResponseWriter, code int, problem string) {
	answer(w, code, message{Error: problem})
}
