package fakesink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"culvert/dataplane/lineproto"
)

const (
	// badLinesMax bounds how many bad lines an answer quotes.
	badLinesMax = 100
	// bodyStart is the room that a body of unknown length begins with.
	bodyStart = 1 << 20
)

var (
	errTooLarge = errors.New("request entity too large")
	errEncoding = errors.New("unknown content encoding")
)

// serveWrite answers writes of one server's kind.
func (s *Sink) serveWrite(server api) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		database, precision, problem := server.target(query)
		d := s.desks.Get().(*desk)
		defer s.desks.Put(d)
		err := d.read(r, s.config.BodyMax)
		figures := Figures{Requests: 1, Bytes: uint64(len(d.body))}
		if s.config.Delay > 0 {
			wait(r, s.config.Delay)
		}
		if fault := s.draw(); fault != nil {
			figures.Failed = 1
			s.note(database, figures)
			fault.serve(w)
			return
		}
		code := http.StatusBadRequest
		switch {
		case errors.Is(err, errTooLarge):
			code, problem = http.StatusRequestEntityTooLarge, err.Error()
		case err != nil:
			problem = err.Error()
		}
		if problem != "" {
			figures.Refused = 1
			s.note(database, figures)
			server.fail(w, code, problem)
			return
		}
		if s.config.CountOnly {
			figures.Points = s.count(d.body)
			s.note(database, figures)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.check(w, r, server, d, database, precision, figures)
	}
}

// count counts the lines of a body, and takes their numbers if they are followed.
func (s *Sink) count(body []byte) uint64 {
	if s.sequences != nil {
		return s.sequences.scan(body)
	}
	return CountLines(body)
}

// check reads every line and answers as the server would.
func (s *Sink) check(w http.ResponseWriter, r *http.Request, server api, d *desk, database string,
	precision lineproto.Precision, figures Figures) {
	good, rejected, bad := d.check(precision, server.takesUint(), s.sequences)
	switch {
	case good+rejected == 0:
		figures.Refused = 1
		s.note(database, figures)
		server.fail(w, http.StatusBadRequest, "writing requires points")
	case rejected > 0:
		// Noted after the answer, whose kind says what is kept; the client may be a moment ahead of the
		// figures.
		figures.Rejected = rejected
		if server.refuse(w, r.URL.Query(), bad, rejected, good) {
			figures.Points = good
		} else {
			figures.Rejected, figures.Refused = good+rejected, 1
		}
		s.note(database, figures)
	default:
		figures.Points = good
		s.note(database, figures)
		w.WriteHeader(http.StatusNoContent)
	}
}

// check decodes the body and quotes the first bad lines. Good lines' numbers are taken if they are followed.
func (d *desk) check(precision lineproto.Precision, takesUint bool, numbers *sequences) (good,
	rejected uint64, bad []badLine) {
	p := &d.point
	refuse := func(text []byte, reason string) {
		rejected++
		if len(bad) < badLinesMax {
			bad = append(bad, badLine{int(good + rejected), string(text), reason})
		}
	}
	d.decoder.Start(d.body, precision, p)
	for {
		switch d.decoder.Next(p) {
		case lineproto.End:
			return good, rejected, bad
		case lineproto.Rejected:
			refuse(p.Bytes(d.decoder.Line()),
				fmt.Sprintf("%s at column %d", d.decoder.Reason(), d.decoder.Column()))
		case lineproto.OK:
			if p.HasUint && !takesUint {
				line := append(append(bytes.Clone(p.Bytes(p.Key)), ' '), p.Bytes(p.FieldSet)...)
				refuse(line, "invalid number")
				continue
			}
			good++
			if numbers != nil {
				numbers.point(p)
			}
		}
	}
}

// read takes the body into the desk's memory, which keeps its size for the next one.
func (d *desk) read(r *http.Request, bodyMax int) error {
	d.body = d.body[:0]
	var from io.Reader = r.Body
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "gzip":
		if err := d.inflate.Reset(r.Body); err != nil {
			return fmt.Errorf("read gzip: %w", err)
		}
		from = &d.inflate
	case "", "identity":
		if r.ContentLength > int64(bodyMax) {
			return errTooLarge
		}
		if r.ContentLength > 0 {
			d.body = slices.Grow(d.body, int(r.ContentLength))[:r.ContentLength]
			n, err := io.ReadFull(from, d.body)
			d.body = d.body[:n]
			if err != nil {
				return fmt.Errorf("read body: %w", err)
			}
			return nil
		}
	default:
		return fmt.Errorf("%w %q, want gzip or none", errEncoding, encoding)
	}
	return d.readAll(from, bodyMax)
}

// readAll takes a body whose length nobody has told.
func (d *desk) readAll(from io.Reader, bodyMax int) error {
	for {
		if len(d.body) == cap(d.body) {
			d.body = slices.Grow(d.body, max(len(d.body), bodyStart))
		}
		n, err := from.Read(d.body[len(d.body):cap(d.body)])
		d.body = d.body[:len(d.body)+n]
		switch {
		case len(d.body) > bodyMax:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read body: %w", err)
		}
	}
}

// wait lets the answer be late, unless nobody waits for it any more.
func wait(r *http.Request, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
