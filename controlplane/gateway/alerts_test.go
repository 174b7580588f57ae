package gateway

import (
	"errors"
	"testing"
)

func TestExternalURL(t *testing.T) {
	hostname := func() (string, error) { return "gw7", nil }
	f := func(listen, want string) {
		t.Helper()
		got, err := externalURL(listen, hostname)
		if err != nil || got != want {
			t.Errorf("%q gives %q, %v, want %q", listen, got, err, want)
		}
	}
	f("127.0.0.1:9490", "http://127.0.0.1:9490")
	f("[fd00::1]:9490", "http://[fd00::1]:9490")
	f("gw.plant:80", "http://gw.plant:80")
	f("0.0.0.0:9490", "http://gw7:9490")
	f("[::]:9490", "http://gw7:9490")
	f(":9490", "http://gw7:9490")
	if url, err := externalURL("9490", hostname); err == nil {
		t.Errorf("no port gives %q", url)
	}
	nameless := func() (string, error) { return "", errors.New("none") }
	if url, err := externalURL(":9490", nameless); err == nil {
		t.Errorf("no name gives %q", url)
	}
}
