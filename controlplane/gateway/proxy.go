package gateway

import (
	"fmt"
	"net/http"
	"net/url"
)

// findProxy asks for the proxy that the environment names for the URL, as every Go program finds it:
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Requests by https go through it. By http they leave by the worker's
// ring or sockets, which know no proxy, and are sent directly: that is said, since it may not be what was
// meant.
func (t *sinkTarget) findProxy(environment func(*http.Request) (*url.URL, error)) error {
	proxy, err := environment(&http.Request{URL: t.parsed})
	if err != nil {
		// The error quotes what may hold a password.
		return fmt.Errorf("the proxy that the environment names for %s is no URL: "+
			"see HTTPS_PROXY, HTTP_PROXY and NO_PROXY", t.shownURL())
	}
	if proxy == nil {
		return nil
	}
	about := []any{"sink", t.config.Name, "url", t.shownURL(), "proxy", proxy.Redacted()}
	if t.parsed.Scheme != "https" {
		t.log.Warn("the environment names a proxy, which is for https alone: the sink is reached directly",
			about...)
		return nil
	}
	t.log.Info("the sink is reached through the environment's proxy", about...)
	t.proxy = proxy
	t.writer.Remote.Proxy = http.ProxyURL(proxy)
	return nil
}
