package influx

import (
	"net/url"
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	f := func(rawURL string, c TargetConfig, host, path, authorization string) {
		t.Helper()
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		c.URL = u
		got, err := Target(c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Host != host || got.Path != path || got.Authorization != authorization {
			t.Fatalf("%s gives %q %q %q, want %q %q %q", rawURL, got.Host, got.Path, got.Authorization,
				host, path, authorization)
		}
	}
	f("http://db:8086", TargetConfig{Database: "a b"}, "db:8086", "/write?db=a+b&precision=ns", "")
	f("http://u:p@db:8086/", TargetConfig{Database: "d"}, "db:8086", "/write?db=d&precision=ns", "Basic dTpw")
	f("http://db/pre/fix/", TargetConfig{Database: "d", Token: "u:p"}, "db",
		"/pre/fix/write?db=d&precision=ns", "Basic dTpw")
	f("http://[::1]:8086", TargetConfig{Org: "o", Bucket: "b/&", Token: "t"}, "[::1]:8086",
		"/api/v2/write?bucket=b%2F%26&org=o&precision=ns", "Token t")
	f("http://db", TargetConfig{Version: 3, Database: "d", Token: "t"}, "db",
		"/api/v3/write_lp?db=d&precision=nanosecond", "Bearer t")
}

func TestTargetRefused(t *testing.T) {
	f := func(rawURL string, c TargetConfig, want string) {
		t.Helper()
		c.URL, _ = url.Parse(rawURL)
		if _, err := Target(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %+v: error %v, want one with %q", rawURL, c, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
	f("ftp://u:secret@db", TargetConfig{Database: "d"}, "want http://")
	f("http:///x", TargetConfig{Database: "d"}, "want http://")
	f("http://u:secret@db", TargetConfig{}, "database is missing")
	f("http://db", TargetConfig{Bucket: "b"}, "org is missing")
	f("http://db", TargetConfig{Version: 2, Org: "o"}, "bucket is missing")
	f("http://db", TargetConfig{Version: 4, Database: "d"}, "version 4")
	f("http://db", TargetConfig{Database: "d", Token: "secret\r\nX: y"}, "line break")
}
