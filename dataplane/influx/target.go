package influx

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// TargetConfig says which server is written to, in the user's words.
type TargetConfig struct {
	// URL is the server's; its path, if any, stands before that of the write endpoint, and its user and
	// password are for a server of version 1.
	URL *url.URL
	// Database is for versions 1 and 3, Org and Bucket are for version 2.
	Database, Org, Bucket string
	// Version is 1, 2 or 3; 0 means 2 if there is a bucket, else 1.
	Version int
	// Token (optional) authorizes; for version 1 it is user:password.
	Token string
}

func (t *TargetConfig) version() int {
	switch {
	case t.Version != 0:
		return t.Version
	case t.Bucket != "":
		return 2
	}
	return 1
}

// Target builds the parts of a Config that name the server and what to write into. The address stays empty:
// looking names up is the control plane's.
func Target(t TargetConfig) (Config, error) {
	if t.URL == nil || t.URL.Scheme != "http" && t.URL.Scheme != "https" || t.URL.Host == "" {
		return Config{}, fmt.Errorf("read target %q: want http://host:port or https://host", redacted(t.URL))
	}
	var missing string
	switch version := t.version(); {
	case version < 1 || version > 3:
		return Config{}, fmt.Errorf("read target %q: version %d is none of 1, 2, 3", redacted(t.URL), version)
	case version == 2 && t.Org == "":
		missing = "org"
	case version == 2 && t.Bucket == "":
		missing = "bucket"
	case version != 2 && t.Database == "":
		missing = "database"
	}
	if missing != "" {
		return Config{}, fmt.Errorf("read target %q: the %s is missing", redacted(t.URL), missing)
	}
	c := Config{Host: t.URL.Host, Path: WritePath(&t), Authorization: Authorization(&t)}
	if t.URL.Scheme == "https" {
		c.Remote = &RemoteConfig{URL: "https://" + c.Host + c.Path}
	}
	for _, value := range []string{c.Host, c.Path, c.Authorization, t.Token} {
		if strings.ContainsAny(value, "\r\n\x00") {
			return Config{}, fmt.Errorf("read target %q: a line break in what stands in the request's head",
				redacted(t.URL))
		}
	}
	return c, nil
}

// WritePath is the path and query that points are posted to, always in nanoseconds.
func WritePath(t *TargetConfig) string {
	q := url.Values{}
	var path, precision string
	switch t.version() {
	case 2:
		path, precision = "/api/v2/write", "ns"
		q.Set("org", t.Org)
		q.Set("bucket", t.Bucket)
	case 3:
		// Named always: the server's default guesses by magnitude.
		path, precision = "/api/v3/write_lp", "nanosecond"
		q.Set("db", t.Database)
	default:
		path, precision = "/write", "ns"
		q.Set("db", t.Database)
	}
	q.Set("precision", precision)
	return strings.TrimSuffix(t.URL.EscapedPath(), "/") + path + "?" + q.Encode()
}

// Authorization is the header's value for a target.
func Authorization(t *TargetConfig) string {
	switch {
	case t.Token != "" && t.version() == 3:
		return "Bearer " + t.Token
	case t.version() == 1 && strings.Contains(t.Token, ":"):
		// As a token only 1.8 and later take it.
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(t.Token))
	case t.Token != "":
		return "Token " + t.Token
	case t.URL.User != nil:
		password, _ := t.URL.User.Password()
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(t.URL.User.Username()+":"+password))
	}
	return ""
}

// secretMin is how long what is hidden is at least, in bytes: to hide less would show it, by what is missing
// in common words.
const secretMin = 4

// secretsOf finds what an Authorization says in a text: the token or, of a name and a password, the password,
// by itself and as it is sent.
func secretsOf(authorization string) *strings.Replacer {
	scheme, secret, _ := strings.Cut(authorization, " ")
	if len(secret) < secretMin {
		return strings.NewReplacer()
	}
	const hidden = "(hidden)"
	pairs := []string{secret, hidden}
	if plain, err := base64.StdEncoding.DecodeString(secret); scheme == "Basic" && err == nil {
		secret = string(plain)
	}
	// InfluxDB 1.x takes a name and a password for a token.
	if _, password, found := strings.Cut(secret, ":"); found && len(password) >= secretMin {
		pairs = append(pairs, password, hidden)
	}
	return strings.NewReplacer(pairs...)
}

// hide takes what authorizes out of words that are shown: some servers and proxies repeat it.
func (w *Writer) hide(words string) string { return w.secrets.Replace(words) }

// redacted is the URL without its password.
func redacted(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.Redacted()
}

// agentDefault is the User-Agent of whoever names none.
const agentDefault = "culvert"

// fixedHead is a request's head up to the digits of its length.
func fixedHead(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\n", c.Path, c.Host)
	agent := c.UserAgent
	if agent == "" {
		agent = agentDefault
	}
	fmt.Fprintf(&b, "User-Agent: %s\r\n", agent)
	if c.Authorization != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", c.Authorization)
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Length: ")
	return b.String()
}

func checkHead(c *Config) error {
	if c.Host == "" || !strings.HasPrefix(c.Path, "/") {
		return errors.New("configure writer: host or path is missing")
	}
	for _, value := range []string{c.Host, c.Path, c.Authorization, c.UserAgent} {
		if strings.ContainsAny(value, "\r\n\x00") {
			return errors.New("configure writer: a line break in what stands in the request's head")
		}
	}
	return nil
}
