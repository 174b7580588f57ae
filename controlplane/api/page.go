package api

import (
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"culvert/controlplane/telemetry"
	"culvert/web"
)

// policy lets the page load what the gateway itself serves and nothing else: no script or style within the
// page, no other host, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// addPage adds the dashboard's files to the routes. They are part of the binary.
func (s *Server) addPage() error {
	files, err := s.config.page, error(nil)
	if files == nil {
		files, err = web.Files()
	}
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("read the dashboard's %q: %w", name, err)
		}
		kind := mime.TypeByExtension(path.Ext(name))
		if name == "index.html" {
			s.routes["/"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.page(w, r, text)
			})
			return nil
		}
		s.routes["/"+name] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Write(text)
		})
		return nil
	})
}

// page is the dashboard for browsers, and the status as text for who does not ask for HTML, or asks for text:
// a browser without JavaScript is shown the way to that.
func (s *Server) page(w http.ResponseWriter, r *http.Request, html []byte) {
	w.Header().Set("Vary", "Accept")
	if r.URL.Query().Has("text") || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		// As in answer: an error means that the client has gone.
		telemetry.Render(w, telemetry.NewStatus(s.snapshot()))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Write(html)
}
