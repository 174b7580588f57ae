package influx

import (
	"fmt"
	"strings"
)

// answer is what a server sends, and what it means for a request of so many points.
type answer struct {
	name, text string
	status     int
	close      bool
	points     int
	verdict    verdict
	rejected   int
}

// withBody is an answer with its length.
func withBody(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

const (
	badRequest = "400 Bad Request"
	version1   = "X-Influxdb-Build: OSS\r\nX-Influxdb-Version: 1.6.7~rc0\r\n"
	unparsed1  = `unable to parse 'm v=1u 1001': invalid number\n`
	unparsed2  = `unable to parse 'm v=2u 1002': invalid number`
	conflict   = `field type conflict: input field \"v\" on measurement \"m\" is type string, ` +
		`already exists as type float`
)

// answers are, where the name says 1.x, what InfluxDB 1.6.7 sent.
var answers = []answer{
	{"1.x success", "HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n" + version1 +
		"Date: Sat, 21 Nov 2026 08:48:17 GMT\r\n\r\n", 204, false, 3, verdictWritten, 0},
	{"success with a body", withBody("200 OK", "", "hello"), 200, false, 3, verdictWritten, 0},
	{"a web page", withBody("200 OK", "Content-Type: text/html\r\n", "<html>"), 200, false, 3,
		verdictHold, 0},
	{"a chunk's length in sixteen digits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0000000000000002\r\n{}\r\n0000000000000000\r\n\r\n", 200, false, 3, verdictWritten, 0},
	{"1.x parse errors", withBody(badRequest, version1, `{"error":"partial write: `+unparsed1+unparsed2+
		` dropped=0"}`+"\n"), 400, false, 3, verdictPartial, 2},
	{"1.x nothing parsed", withBody(badRequest, version1, `{"error":"`+unparsed1+unparsed2+`"}`+"\n"),
		400, false, 9, verdictRefused, 9},
	{"1.x type conflict", withBody(badRequest, version1,
		`{"error":"partial write: `+conflict+` dropped=2"}`+"\n"),
		400, false, 3, verdictPartial, 2},
	{"1.x retention", withBody(badRequest, version1,
		`{"error":"partial write: points beyond retention policy dropped=2"}`+"\n"),
		400, false, 2, verdictPartial, 2},
	{"1.x no database", withBody("404 Not Found", version1, `{"error":"database not found: \"nodb\""}`+"\n"),
		404, false, 3, verdictHold, 0},
	{"1.x no name", withBody(badRequest, version1, `{"error":"database is required"}`+"\n"),
		400, false, 3, verdictHold, 0},
	{"1.x no policy", withBody("500 Internal Server Error", version1,
		`{"error":"retention policy not found: nope"}`+"\n"), 500, false, 3, verdictHold, 0},
	{"1.x too large", withBody("413 Request Entity Too Large", "Connection: close\r\n",
		`{"error":"Request Entity Too Large"}`+"\n"), 413, true, 3, verdictTooLarge, 0},
	{"2.x parse error in chunks", "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2a;x=y\r\n" +
		`{"code":"invalid","message":"unable to pa` + "\n\r\n10\r\nrse 'm v=1x': ba\r\n2\r\n\"}\r\n0\r\n" +
		"X-T: 1\r\n\r\n", 400, false, 3, verdictRefused, 0},
	{"2.x type conflict", withBody("422 Unprocessable Entity", "",
		`{"code":"unprocessable entity","message":`+
			`"failure writing points to database: partial write: `+conflict+` dropped=1"}`),
		422, false, 3, verdictPartial, 1},
	{"3.x partial", withBody(badRequest, "", `{"error":"partial write of line protocol occurred","data":[`+
		`{"original_line":"\"line_number\":","line_number":2,"error_message":"x"},`+
		`{"original_line":"b","line_number":5,"error_message":"y"}]}`), 400, false, 9, verdictPartial, 2},
	{"a point that speaks like a server", withBody(badRequest, "",
		`{"code":"invalid","message":"unable to parse 'm,partial write=1': dropped=1"}`),
		400, false, 3, verdictRefused, 0},
	{"more rejected than sent", withBody(badRequest, "", `{"error":"partial write dropped=9"}`),
		400, false, 3, verdictPartial, 3},
	{"conflict as 500", withBody("500 Oops", "", `{"error":"partial write: field type conflict dropped=1"}`),
		500, false, 3, verdictPartial, 1},
	{"overload", withBody("503 Service Unavailable", "Retry-After: 3\r\n", ""),
		503, false, 3, verdictRetry, 0},
	{"to the end", "HTTP/1.0 502 Bad Gateway\r\n\r\nsorry", 502, true, 3, verdictRetry, 0},
	{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, false, 3,
		verdictWritten, 0},
	{"old and kept", "HTTP/1.0 204 No Content\nConnection: Keep-Alive\n\n", 204, false, 3, verdictWritten, 0},
	{"204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, true, 3,
		verdictWritten, 0},
	{"204 in chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, true, 3,
		verdictWritten, 0},
	{"redirected", withBody("307 Temporary Redirect", "Location: /x\r\n", ""), 307, false, 3, verdictHold, 0},
	{"unauthorized", withBody("401 Unauthorized", "", ""), 401, false, 3, verdictHold, 0},
	{"words in a long header", withBody(badRequest,
		"X-Influxdb-Error: "+strings.Repeat("partial ", 9000)+"\r\n", "{}"),
		400, false, 3, verdictRefused, 0},
}
