package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// unixPathMax is what the kernel's sun_path holds less the final zero (struct sockaddr_un,
// include/uapi/linux/un.h).
const unixPathMax = 107

// departuresMax bounds the notifiers via xdp: a worker notes in one word which of them it has told.
const departuresMax = 64

func (k *checker) notifiers() {
	names, departures := map[string]int{}, 0
	for i := range k.config.Notifiers {
		n := &k.config.Notifiers[i]
		key := fmt.Sprintf("notifiers[%d]", i)
		k.name(key+".name", n.Name, names, i)
		k.notifierURLs(key+".url", n)
		k.notifierAddress(key+".address", n)
		if n.Via != "kernel" && n.Type != "udp" {
			k.failf(key+".via", "%s belongs to type udp, and this is type %s", n.Via, n.Type)
		}
		if n.Via == "xdp" {
			if departures++; departures > departuresMax {
				k.failf(key+".via", "more than %d notifiers are via xdp", departuresMax)
			}
		}
		if n.Format != "json" && n.Type != "udp" && n.Type != "unix" {
			k.failf(key+".format", "belongs to types udp and unix, and this is type %s", n.Type)
		}
	}
}

// notifierURLs checks that there are URLs where they belong, and of the right kind.
func (k *checker) notifierURLs(key string, n *Notifier) {
	switch n.Type {
	case "alertmanager", "webhook":
		if len(n.URL) == 0 {
			k.failf(key, "is missing: %s", wantedURL(n.Type))
		}
	case "influxdb":
		if len(n.URL) == 0 && len(k.config.Sinks) == 0 {
			k.failf(key, "is missing, and there is no sink to write into: %s", wantedURL(n.Type))
		}
	default:
		if n.URL != nil {
			k.failf(key, "belongs to types alertmanager, webhook and influxdb, and this is type %s", n.Type)
		}
		return
	}
	for i, text := range n.URL {
		path := key
		if len(n.URL) > 1 {
			path = fmt.Sprintf("%s[%d]", key, i)
		}
		if i > 0 && n.Type != "alertmanager" {
			k.failf(path, "only type alertmanager takes several: make a notifier of each")
			return
		}
		if slices.Contains(n.URL[:i], text) {
			k.failf(path, "%q is there twice", withoutUser(text))
			continue
		}
		k.notifierURL(path, n.Type, text)
	}
}

func wantedURL(kind string) string {
	return map[string]string{
		"alertmanager": "give Alertmanager's address, such as http://127.0.0.1:9093",
		"webhook":      "give what is posted to, such as http://host/path",
		"influxdb":     "give the write endpoint, such as http://127.0.0.1:8086/write?db=alerts",
	}[kind]
}

func (k *checker) notifierURL(key, kind, text string) {
	u, err := url.Parse(text)
	text = withoutUser(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Port() != "" && !isPort(u.Port(), 1):
		k.failf(key, "%q is no URL for type %s: %s", text, kind, wantedURL(kind))
	case u.User != nil && kind != "webhook":
		k.failf(key, "a password does not belong here")
	case u.Fragment != "":
		k.failf(key, "%q ends with a fragment, which is never sent", text)
	case kind == "alertmanager" && u.RawQuery != "":
		k.failf(key, "%q ends with a query, and /api/v2/alerts is put behind it", text)
	case kind == "alertmanager" && strings.Contains(u.Path, "/api/"):
		k.failf(key, "%q names the API: leave %s out, it is put behind it", text,
			u.Path[strings.Index(u.Path, "/api/"):])
	case kind == "influxdb" && strings.Trim(u.Path, "/") == "":
		k.failf(key, "%q does not name the write endpoint: %s", text, wantedURL(kind))
	case kind == "influxdb" && !nanoseconds(u.Query()):
		k.failf(key, "%q asks for another precision than nanoseconds, in which points are written", text)
	}
}

// nanoseconds tells whether a write endpoint's query takes timestamps in nanoseconds: version 3 by name, the
// others by default too.
func nanoseconds(query url.Values) bool {
	return slices.Contains([]string{"", "n", "ns", "nanosecond"}, query.Get("precision"))
}

func (k *checker) notifierAddress(key string, n *Notifier) {
	switch n.Type {
	case "udp":
		if host, port, err := net.SplitHostPort(n.Address); err != nil || host == "" || !isPort(port, 1) {
			k.failf(key, "%q is not an address and a port such as 10.0.0.9:7000", n.Address)
		}
	case "unix":
		name, abstract := strings.CutPrefix(n.Address, "@")
		switch {
		case abstract && name == "" || !abstract && !filepath.IsAbs(n.Address):
			k.failf(key, "%q is neither an absolute path nor the name of an abstract socket such as @alerts",
				n.Address)
		case len(n.Address) > unixPathMax:
			k.failf(key, "%d bytes are more than a socket's path may have, %d", len(n.Address), unixPathMax)
		}
	default:
		if n.Address != "" {
			k.failf(key, "belongs to types udp and unix, and this is type %s", n.Type)
		}
	}
}
