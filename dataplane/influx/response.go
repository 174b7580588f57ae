package influx

import (
	"bytes"
	"errors"
)

// Bounds of an answer. A server repeats every line it refused, in a header and in the body, each up to twice
// as long as what was sent; more than that is no answer to wait for.
const (
	headMax = 16 << 20
	bodyMax = 64 << 20
	// statusMax is the highest status that has a meaning.
	statusMax = 599
	// lineMax is what is kept of a header line. Those that matter are shorter.
	lineMax = 256
	// textMax is what is kept of a body's beginning and of its end.
	textMax = 512
	// detailsMax is what is kept of a refusal's body to find the lines that it names.
	detailsMax = 1 << 20
)

// webPage is a type that no database's answer to a write has.
const webPage = "text/html"

// isWebPage reads a Content-Type.
func isWebPage(value []byte) bool {
	return len(value) >= len(webPage) && equalFold(value[:len(webPage)], webPage)
}

// errMalformed tells that what came is no HTTP/1 answer within bounds.
var errMalformed = errors.New("the answer is no HTTP/1.1")

// phase is which part of an answer comes next.
type phase uint8

const (
	phaseStatus phase = iota
	phaseHeader
	phaseBody      // left bytes of it
	phaseToEOF     // the connection's end is the body's
	phaseChunkSize // a line
	phaseChunk     // left bytes of it
	phaseChunkEnd  // an empty line
	phaseTrailer   // lines until an empty one
	phaseDone
)

// response reads one HTTP/1 answer as it comes, in pieces of any size. The zero response is ready for one.
type response struct {
	phase  phase
	status int
	old    bool // HTTP/1.0
	close  bool // the server closes the connection after it
	keep   bool // HTTP/1.0 that stays open

	chunked    bool
	length     int64 // of the body, if hasLength
	hasLength  bool
	left       int64 // of the body, or of the chunk
	headBytes  int
	bodyBytes  int64
	line       [lineMax]byte
	lineLength int // what came of the line, also beyond lineMax

	retryAfter, date string // headers, as they are
	// reason is what the status line of a failure says, location where a redirection points to, encoding what
	// was done to the body.
	reason, location, encoding string
	versionOne                 bool // the server says that it is InfluxDB 1.x
	page                       bool // the body is a web page

	// details is the body of a refusal, which may name lines; its memory is used again. detailsCut tells
	// that there was more.
	details     []byte
	detailsCut  bool
	first       [textMax]byte // of the body
	firstLength int
	tail        tail // of the body
	unparsed    matches
	lineNumbers matches
}

// started tells whether anything of the answer has come.
func (r *response) started() bool { return r.headBytes > 0 }

// feed reads on. It returns how much it took, and whether the answer is complete: what is left then does not
// belong to it.
func (r *response) feed(b []byte) (used int, done bool, err error) {
	for used < len(b) && r.phase != phaseDone {
		n := 0
		switch r.phase {
		case phaseBody, phaseChunk, phaseToEOF:
			n, err = r.text(b[used:])
		default:
			n, err = r.feedLine(b[used:])
		}
		used += n
		if err != nil {
			return used, false, err
		}
	}
	return used, r.phase == phaseDone, nil
}

// end tells that the connection ended. It reports whether that completes the answer.
func (r *response) end() bool {
	if r.phase == phaseToEOF {
		r.phase = phaseDone
	}
	return r.phase == phaseDone
}

// text takes bytes of the body.
func (r *response) text(b []byte) (int, error) {
	if r.phase != phaseToEOF && int64(len(b)) > r.left {
		b = b[:r.left]
	}
	r.bodyBytes += int64(len(b))
	if r.bodyBytes > bodyMax {
		return 0, errMalformed
	}
	// Nobody reads the text of a success.
	if r.status >= 300 {
		r.firstLength += copy(r.first[r.firstLength:], b)
		r.unparsed.feed(b, unparsedMark)
		r.lineNumbers.feed(b, lineNumberMark)
		r.tail.feed(b)
		if r.status == 400 || r.status == 422 || r.status == 500 {
			n := min(len(b), detailsMax-len(r.details))
			r.details, r.detailsCut = append(r.details, b[:n]...), r.detailsCut || n < len(b)
		}
	}
	if r.phase == phaseToEOF {
		return len(b), nil
	}
	r.left -= int64(len(b))
	switch {
	case r.left > 0:
	case r.phase == phaseChunk:
		r.phase = phaseChunkEnd
	default:
		r.phase = phaseDone
	}
	return len(b), nil
}

// feedLine gathers a line and reads it once it is whole.
func (r *response) feedLine(b []byte) (int, error) {
	n := bytes.IndexByte(b, '\n')
	whole := n >= 0
	if !whole {
		n = len(b)
	}
	if r.lineLength < lineMax {
		copy(r.line[r.lineLength:], b[:n])
	}
	r.lineLength += n
	used := n
	if whole {
		used++
	}
	r.headBytes += used
	if r.headBytes > headMax {
		return used, errMalformed
	}
	if !whole {
		return used, nil
	}
	cut := r.lineLength > lineMax
	line := r.line[:min(r.lineLength, lineMax)]
	r.lineLength = 0
	if !cut && len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	return used, r.readLine(line, cut)
}

// readLine reads one line of the head or of the chunks' framing; cut tells that its end is missing.
func (r *response) readLine(line []byte, cut bool) error {
	switch r.phase {
	case phaseStatus:
		return r.readStatus(line)
	case phaseHeader:
		if len(line) == 0 {
			return r.headEnds()
		}
		return r.readHeader(line, cut)
	case phaseChunkSize:
		return r.readChunkSize(line, cut)
	case phaseChunkEnd:
		if len(line) != 0 {
			return errMalformed
		}
		r.phase = phaseChunkSize
	case phaseTrailer:
		if len(line) == 0 {
			r.phase = phaseDone
		}
	}
	return nil
}

// readStatus reads "HTTP/1.1 204 No Content".
func (r *response) readStatus(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return errMalformed
	}
	r.old = line[7] == '0'
	if !r.old && line[7] != '1' {
		return errMalformed
	}
	r.status = 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return errMalformed
		}
		r.status = 10*r.status + int(c-'0')
	}
	if r.status < 100 || r.status > statusMax {
		return errMalformed
	}
	if r.status >= 300 && len(line) > 13 {
		r.reason = string(line[13:])
	}
	r.phase = phaseHeader
	return nil
}

// readHeader keeps what matters of a header: how long the body is, whether the connection stays, when to come
// back.
func (r *response) readHeader(line []byte, cut bool) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		if cut {
			return nil // a name beyond all bounds is none that matters
		}
		return errMalformed
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	switch {
	case equalFold(name, "content-length"):
		n, ok := digits(value)
		if !ok || cut || r.hasLength && n != r.length {
			return errMalformed
		}
		r.length, r.hasLength = n, true
	case equalFold(name, "transfer-encoding"):
		if !equalFold(value, "chunked") {
			return errMalformed
		}
		r.chunked = true
	case equalFold(name, "connection"):
		r.close = r.close || hasToken(value, "close")
		r.keep = r.keep || hasToken(value, "keep-alive")
	case equalFold(name, "content-type"):
		r.page = isWebPage(value)
	case r.status < 300:
		// What follows matters only for failures; a success stays free of allocations.
	case equalFold(name, "retry-after"):
		r.retryAfter = string(value)
	case equalFold(name, "date"):
		r.date = string(value)
	case equalFold(name, "location"):
		r.location = string(value)
	case equalFold(name, "content-encoding"):
		r.encoding = string(value)
	case equalFold(name, "x-influxdb-version"):
		r.versionOne = bytes.HasPrefix(value, []byte("1."))
	}
	return nil
}

// headEnds decides how the body comes.
func (r *response) headEnds() error {
	if r.status < 200 {
		// An interim answer, such as 100 Continue: the real one follows.
		*r = response{headBytes: r.headBytes, details: r.details[:0]}
		return nil
	}
	if r.old && !r.keep {
		r.close = true
	}
	switch {
	case r.status == 204 || r.status == 304:
		// They have no body; one that is announced nevertheless would stand before the next answer.
		r.close = r.close || r.chunked || r.hasLength && r.length > 0
		r.phase = phaseDone
	case r.chunked:
		// A length beside chunks is somebody's mistake; whose, nobody knows: the connection ends after this.
		r.close = r.close || r.hasLength
		r.phase = phaseChunkSize
	case !r.hasLength:
		r.close = true
		r.phase = phaseToEOF
	case r.length == 0:
		r.phase = phaseDone
	default:
		r.left = r.length
		r.phase = phaseBody
	}
	return nil
}

// readChunkSize reads hexadecimal digits, and leaves extensions aside.
func (r *response) readChunkSize(line []byte, cut bool) error {
	end := bytes.IndexByte(line, ';')
	if end < 0 {
		if end = len(line); cut {
			return errMalformed
		}
	}
	text := bytes.TrimRight(line[:end], " \t")
	if len(text) == 0 {
		return errMalformed
	}
	// Some servers write all digits of a word.
	if text = bytes.TrimLeft(text, "0"); len(text) > 8 {
		return errMalformed
	}
	var n int64
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | int64(c|0x20-'a'+10)
		default:
			return errMalformed
		}
	}
	if r.left = n; n == 0 {
		r.phase = phaseTrailer
	} else {
		r.phase = phaseChunk
	}
	return nil
}
