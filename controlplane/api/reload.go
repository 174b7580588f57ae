package api

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"culvert/controlplane/telemetry"
)

// change answers requests that change the gateway: POST alone, and only from who may.
func (s *Server) change(handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code, why := s.mayChange(r); code != 0 {
			if code == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			s.fail(w, code, why)
			return
		}
		handler(w, r)
	})
}

// mayChange tells why a request may not change the gateway, with the status code, or 0 if it may. With a
// token that is who has it; without one, where only this host can ask, everyone.
func (s *Server) mayChange(r *http.Request) (code int, why string) {
	// A page from elsewhere can let a browser on this host post, but not without saying where it is from.
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return http.StatusForbidden, fmt.Sprintf("a page of %s changes nothing here", origin)
		}
	}
	if s.config.Token == "" {
		if !isLoopback(s.config.Listen) {
			return http.StatusForbidden, fmt.Sprintf("http.listen %s can be reached from other hosts, so "+
				"changes need a token: name its file in http.token_file, or send SIGHUP", s.config.Listen)
		}
		return 0, ""
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") ||
		subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(s.config.Token)) != 1 {
		return http.StatusUnauthorized, "changes need the token of http.token_file, " +
			"as Authorization: Bearer TOKEN"
	}
	return 0, ""
}

// isLoopback tells whether an address to listen on is this host's alone.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

// reload lets the gateway read its configuration anew and shows what changed.
func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	report, err := s.config.Reload()
	var refused *telemetry.Refused
	switch {
	case errors.As(err, &refused):
		s.answer(w, http.StatusUnprocessableEntity,
			map[string]any{"error": refused.Error(), "mistakes": refused.Mistakes})
	case err != nil:
		s.fail(w, http.StatusServiceUnavailable, err.Error())
	default:
		s.answer(w, http.StatusOK, report)
	}
}
