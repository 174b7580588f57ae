package receive

import (
	"io"
	"net/http"
)

// Discard is a sink that reads every body and takes it, whatever it is: for senders that speak something
// else than InfluxDB.
type Discard struct{}

// ServeHTTP reads the body and answers that it has been taken.
func (Discard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // The client has gone.
	}
	w.WriteHeader(http.StatusNoContent)
}
