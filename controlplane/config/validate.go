package config

import (
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	// listenersMax is dataplane.ListenersMax: per-listener counters are arrays.
	listenersMax = 64
	// tenantsMax bounds the tenants as the contract says.
	tenantsMax = 256
	// urlsMax is dataplane.LanesMax: the lanes of a worker share a ring.
	urlsMax = 64
	// interfaceNameMax is the kernel's IFNAMSIZ less the final zero.
	interfaceNameMax = 15
)

// checker collects what Validate finds.
type checker struct {
	config *Config
	errors []*Error
}

func (k *checker) failf(key, format string, arguments ...any) {
	k.errors = append(k.errors, k.config.positions.errorf(key, format, arguments...))
}

// Validate checks the relations between values; that each value is one of its kind, Load has seen already.
// The result is empty when the configuration is good.
func (c *Config) Validate() []*Error {
	k := &checker{config: c}
	k.interfaces()
	k.listeners()
	k.tenants()
	k.workers()
	k.rules()
	k.notifiers()
	k.sinks()
	k.spool()
	k.traces()
	if _, port, err := net.SplitHostPort(c.HTTP.Listen); err != nil || !isPort(port, 0) {
		k.failf("http.listen", "%q is not an address and a port such as 127.0.0.1:9490", c.HTTP.Listen)
	}
	return k.errors
}

// isPort tells whether a text is a port number of at least a least one.
func isPort(text string, least uint64) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n >= least
}

func isUnprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// name checks one name of a list: a plain word, not used before.
func (k *checker) name(key, name string, seen map[string]int, i int) {
	switch first, twice := seen[name]; {
	case name == "" || strings.ContainsFunc(name, isUnprintable):
		k.failf(key, "%q is not a name: one or more letters, without spaces", name)
	case twice:
		k.failf(key, "%q is also the name of number %d", name, first+1)
	default:
		seen[name] = i
	}
}

func (k *checker) interfaces() {
	if len(k.config.Interfaces) == 0 {
		k.failf("interfaces", "is empty: name at least one interface")
	}
	seen := map[string]int{}
	for i := range k.config.Interfaces {
		in := &k.config.Interfaces[i]
		key := fmt.Sprintf("interfaces[%d].name", i)
		k.name(key, in.Name, seen, i)
		if len(in.Name) > interfaceNameMax || strings.ContainsAny(in.Name, "/:") {
			k.failf(key, "%q is not an interface's name: at most %d characters, no / or :",
				in.Name, interfaceNameMax)
		}
		k.fanout(fmt.Sprintf("interfaces[%d].queues_fanout", i), in)
		if in.BusyPoll.On && (in.Mode == "generic" || in.Mode == "socket") {
			k.failf(fmt.Sprintf("interfaces[%d].busy_poll", i),
				"it polls sockets of mode native or zerocopy, not %s: leave one of the two out", in.Mode)
		}
	}
}

// fanout checks what several sockets on one queue need: a program in the driver, which alone runs on one CPU
// at a time for each queue, and for packets in turn that nobody wants a series' points in order.
func (k *checker) fanout(key string, in *Interface) {
	if in.QueuesFanout == "none" {
		return
	}
	if in.Mode == "generic" || in.Mode == "socket" {
		k.failf(key, "%s takes mode native or zerocopy, not %s: leave one of the two out", in.QueuesFanout,
			in.Mode)
	}
	for i := range k.config.Sinks {
		s := &k.config.Sinks[i]
		if in.QueuesFanout == "packet" && s.Order == "series" {
			k.failf(key, "packet deals one sender's packets out to several workers, and sink %q wants each "+
				"series in order: use flow, or order none", s.Name)
		}
	}
}

func (k *checker) listeners() {
	if n := len(k.config.Listeners); n > listenersMax {
		k.failf("listeners", "%d listeners are more than %d", n, listenersMax)
	}
	names := map[string]int{}
	for i := range k.config.Listeners {
		l := &k.config.Listeners[i]
		key := fmt.Sprintf("listeners[%d]", i)
		k.name(key+".name", l.Name, names, i)
		for j := range i {
			k.share(key, &k.config.Listeners[j], l)
		}
		k.tags(key, l)
	}
}

// share checks that two listeners on one port are told apart by their addresses. One that takes all of the
// interfaces' own cannot be told from any other.
func (k *checker) share(key string, first, second *Listener) {
	if first.Port != second.Port {
		return
	}
	if len(first.Address) == 0 || len(second.Address) == 0 {
		k.failf(key+".port", "port %d is listener %q's already: to share it, both list their addresses",
			second.Port, first.Name)
		return
	}
	for i, address := range second.Address {
		if slices.Contains(first.Address, address) {
			k.failf(fmt.Sprintf("%s.address[%d]", key, i), "%s port %d is listener %q's already", address,
				second.Port, first.Name)
		}
	}
}

// tags checks what becomes part of every line. Line Protocol has no way to write a line feed or an empty text
// in a tag.
func (k *checker) tags(key string, l *Listener) {
	unwritable := func(text string) bool {
		return text == "" || strings.ContainsFunc(text, unicode.IsControl) || strings.HasSuffix(text, `\`)
	}
	for name, value := range l.Tags {
		path := join(key+".tags", name)
		if unwritable(name) || unwritable(value) {
			k.failf(path, "a tag's name and value have at least one character, no control characters and no "+
				`\ at the end`)
		}
		if name == l.SourceTag && name != "" {
			k.failf(key+".source_tag", "%q is among the listener's tags already", name)
		}
	}
	if l.SourceTag != "" && unwritable(l.SourceTag) {
		k.failf(key+".source_tag", "%q is not a tag's name", l.SourceTag)
	}
}

func (k *checker) tenants() {
	if n := len(k.config.Tenants); n > tenantsMax {
		k.failf("tenants", "%d tenants are more than %d", n, tenantsMax)
	}
	var listeners, sinks []string
	for _, l := range k.config.Listeners {
		listeners = append(listeners, l.Name)
	}
	for _, s := range k.config.Sinks {
		sinks = append(sinks, s.Name)
	}
	names, claims := map[string]int{}, map[claim]string{}
	for i := range k.config.Tenants {
		t := &k.config.Tenants[i]
		key := fmt.Sprintf("tenants[%d]", i)
		k.name(key+".name", t.Name, names, i)
		for j, name := range t.Listeners {
			if !slices.Contains(listeners, name) {
				path := fmt.Sprintf("%s.listeners[%d]", key, j)
				k.failf(path, "%s", noSuch("listener", name, listeners))
			}
		}
		if !slices.Contains(sinks, t.Sink) {
			k.failf(key+".sink", "%s", noSuch("sink", t.Sink, sinks))
		}
		l := &t.Limits
		if l.Burst > 0 && l.PacketsPerSecond+l.SourcePacketsPerSecond+l.PointsPerSecond == 0 {
			k.failf(key+".limits.burst", "bounds nothing: give packets_per_second, "+
				"source_packets_per_second or points_per_second")
		}
		on := t.Listeners
		if len(on) == 0 {
			on = listeners
		}
		k.claims(key, t, on, claims)
	}
}

// claim is a prefix on a listener; the zero Prefix stands for whoever is in no other tenant's.
type claim struct {
	listener string
	prefix   netip.Prefix
}

// claims checks that no other tenant has the same senders on the same listener.
func (k *checker) claims(key string, t *Tenant, listeners []string, claims map[claim]string) {
	sources := t.Sources
	if len(sources) == 0 {
		sources = []netip.Prefix{{}}
	}
	for j, prefix := range sources {
		var other string
		for _, listener := range listeners {
			if tenant, taken := claims[claim{listener, prefix}]; taken {
				other = tenant
			}
			claims[claim{listener, prefix}] = t.Name
		}
		switch {
		case other == "":
		case prefix.IsValid():
			k.failf(fmt.Sprintf("%s.sources[%d]", key, j), "%s is tenant %q's already", prefix, other)
		default:
			k.failf(key+".sources", "is empty, as tenant %q's: only one may take everyone else", other)
		}
	}
}

func noSuch(kind, name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("there is no %s %q: did you mean %q?", kind, name, near)
	}
	return fmt.Sprintf("there is no %s %q", kind, name)
}

func (k *checker) workers() {
	w := &k.config.Workers
	// The fill ring holds every frame, the RX ring half of them, and the kernel's rings are powers of two.
	if bits.OnesCount(uint(w.Frames)) != 1 {
		k.failf("workers.frames", "%d is not a power of two: the nearest below is %d", w.Frames,
			1<<(bits.Len(uint(w.Frames))-1))
	}
	if w.Batch > w.Frames/2 {
		k.failf("workers.batch", "%d is more than half of frames (%d)", w.Batch, w.Frames)
	}
}

func (k *checker) rules() {
	for i, pattern := range k.config.Rules.Files {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			k.failf(fmt.Sprintf("rules.files[%d]", i), "%q is not a path, with or without wildcards", pattern)
		}
	}
}

func (k *checker) sinks() {
	if len(k.config.Sinks) == 0 {
		k.failf("sinks", "is empty: name the database to write to")
	}
	names, urls := map[string]int{}, 0
	for i := range k.config.Sinks {
		s := &k.config.Sinks[i]
		if urls += len(s.URLs); urls > urlsMax {
			k.failf(fmt.Sprintf("sinks[%d].urls", i), "%d urls of all sinks are more than %d", urls, urlsMax)
			return
		}
		key := fmt.Sprintf("sinks[%d]", i)
		k.name(key+".name", s.Name, names, i)
		k.urls(key, s)
		k.target(key, s)
		if s.Order == "series" && s.Routing == "failover" && len(s.URLs) > 1 {
			k.failf(key+".order", "series and routing failover don't go together: what moves to another "+
				"server overtakes or is overtaken")
		}
		if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
			k.failf(key+".tls", "cert_file and key_file go together")
		}
		if s.Batch.Linger > s.Batch.Age {
			k.failf(key+".batch.linger", "%s is more than age (%s)", shortDuration(s.Batch.Linger),
				shortDuration(s.Batch.Age))
		}
		if s.Retry.First > s.Retry.Max {
			k.failf(key+".retry.first", "%s is more than max (%s)", shortDuration(s.Retry.First),
				shortDuration(s.Retry.Max))
		}
	}
}

// spool checks that each URL's share holds two segments, and each segment a batch.
func (k *checker) spool() {
	s, urls, batch := &k.config.Spool, 0, Size(0)
	for i := range k.config.Sinks {
		urls += len(k.config.Sinks[i].URLs)
		batch = max(batch, k.config.Sinks[i].Batch.Bytes)
	}
	if s.Dir == "" {
		return
	}
	if batch >= s.Segment {
		k.failf("spool.segment", "%s has no room for a batch of %s (batch.bytes)", s.Segment, batch)
	}
	if least := 2 * s.Segment * Size(urls); s.Max < least {
		k.failf("spool.max", "%s is less than two segments for each of %d urls: %s", s.Max, urls, least)
	}
}

// traces checks a collector's address. Whether a file can be had is seen when it is opened.
func (k *checker) traces() {
	t := &k.config.Traces
	if t.Exporter != "otlp" || t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Hostname() == "" || u.Port() != "" && !isPort(u.Port(), 1) ||
		u.Scheme != "http" && u.Scheme != "https":
		k.failf("traces.endpoint", "%q is not a collector's URL such as http://127.0.0.1:4317 for gRPC or "+
			"http://127.0.0.1:4318/v1/traces for HTTP", withoutUser(t.Endpoint))
	case u.User != nil:
		k.failf("traces.endpoint", "a password does not belong here: the environment's "+
			"OTEL_EXPORTER_OTLP_HEADERS has authorization=…")
	case u.RawQuery != "" || u.Fragment != "":
		k.failf("traces.endpoint", "ends with a query, which OTLP does not have")
	}
}

func (k *checker) urls(key string, s *Sink) {
	if len(s.URLs) == 0 {
		k.failf(key+".urls", "is empty: name the database's address")
	}
	for i, text := range s.URLs {
		path := fmt.Sprintf("%s.urls[%d]", key, i)
		u, err := url.Parse(text)
		switch first, text := slices.Index(s.URLs, text), withoutUser(text); {
		case first < i:
			k.failf(path, "%q is number %d already", text, first+1)
		case err != nil || u.Hostname() == "" || u.Port() != "" && !isPort(u.Port(), 1):
			k.failf(path, "%q is not a URL such as http://127.0.0.1:8086", text)
		case u.Scheme != "http" && u.Scheme != "https":
			k.failf(path, "%q does not begin with http:// or https://", text)
		case u.User != nil:
			k.failf(path, "a password does not belong here: put \"user:password\" into token_file")
		case u.RawQuery != "" || u.Fragment != "":
			k.failf(path, "ends with a query: database, org and bucket have keys of their own")
		}
	}
}

// withoutUser is a URL's text, right or wrong, without what may be a password in it.
func withoutUser(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "(hidden)" + text[i:]
	}
	return text
}

// target checks that exactly one API's keys are there.
func (k *checker) target(key string, s *Sink) {
	need := func(name, value string) {
		if value == "" {
			k.failf(key+"."+name, "is missing: version %d of the API needs it", s.API())
		}
	}
	refuse := func(name, value string) {
		if value != "" {
			k.failf(key+"."+name, "does not belong to version %d of the API: give database (1.x), or org, "+
				"bucket and token_file (2.x), or database and version: 3", s.API())
		}
	}
	if s.API() == 2 {
		need("org", s.Org)
		need("bucket", s.Bucket)
		need("token_file", s.TokenFile)
		refuse("database", s.Database)
		return
	}
	need("database", s.Database)
	refuse("org", s.Org)
	refuse("bucket", s.Bucket)
}
