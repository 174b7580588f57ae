package api

import (
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// compressed answers in gzip who asks for it, at the level that takes least time: the library's own default
// level was the largest part of a scrape. Scrapers ask for it always, also over loopback.
type compressed struct {
	plain   http.Handler // does not compress itself
	writers sync.Pool    // of *gzip.Writer, each some hundred KiB of tables
}

// ServeHTTP is http.Handler's.
func (c *compressed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !takesGzip(r.Header.Get("Accept-Encoding")) || r.Method == http.MethodHead {
		c.plain.ServeHTTP(w, r)
		return
	}
	out, _ := c.writers.Get().(*gzip.Writer)
	if out == nil {
		// The only error there can be is a level that does not exist.
		out, _ = gzip.NewWriterLevel(w, gzip.BestSpeed)
	} else {
		out.Reset(w)
	}
	defer c.writers.Put(out)
	w.Header().Set("Content-Encoding", "gzip")
	c.plain.ServeHTTP(&compressedWriter{w, out}, r)
	// An error is a client that has gone.
	_ = out.Close()
}

// takesGzip tells whether a list of codings (RFC 9110, 12.5.3) has gzip, and not as one to be left out.
func takesGzip(accepted string) bool {
	for coding := range strings.SplitSeq(accepted, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			weight = strings.TrimSpace(weight)
			return strings.TrimRight(strings.TrimPrefix(weight, "q=0"), ".0") != "" || weight == ""
		}
	}
	return false
}

// compressedWriter is an answer whose body goes through a compressor.
type compressedWriter struct {
	http.ResponseWriter
	body *gzip.Writer
}

func (w *compressedWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
