package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"culvert/controlplane/config"
)

// Goal: a proxy of the environment is used for https alone, what may surprise is said, and no password of it
// is shown.
func TestProxyOfTheEnvironment(t *testing.T) {
	proxy, err := url.Parse("http://user:secret@proxy.example:3128")
	if err != nil {
		t.Fatal(err)
	}
	f := func(address string, found *url.URL, failed error, level, words string) {
		t.Helper()
		var log bytes.Buffer
		c := &config.Sink{Name: "main", Database: "d", Gzip: strings.HasSuffix(address, "2")}
		target, err := newSinkTarget(context.Background(), c, address, "", 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		target.log = slog.New(slog.NewTextHandler(&log, nil))
		err = target.findProxy(func(r *http.Request) (*url.URL, error) {
			if r.URL.String() != address {
				t.Errorf("asked for %s", r.URL)
			}
			return found, failed
		})
		if (err != nil) != (failed != nil) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
		used := target.proxy != nil
		if used != (level == "INFO") || used && target.writer.Remote.Proxy == nil {
			t.Errorf("%s: the proxy is used: %t", address, used)
		}
		text := log.String()
		if strings.Contains(text, "secret") || (level == "") != (text == "") ||
			!strings.Contains(text, "level="+level) && level != "" || !strings.Contains(text, words) {
			t.Errorf("%s: the log says %q", address, text)
		}
	}
	f("https://127.0.0.1:1", proxy, nil, "INFO", "through the environment's proxy")
	f("http://127.0.0.1:1", proxy, nil, "WARN", "is reached directly")
	f("http://127.0.0.1:2", proxy, nil, "WARN", "is reached directly")
	f("https://127.0.0.1:1", nil, nil, "", "")
	f("http://127.0.0.1:1", nil, nil, "", "")
	f("https://127.0.0.1:1", nil, errors.New("no URL: http://user:secret@"), "", "")
}
