package gateway

import (
	"fmt"
	"slices"
	"strings"

	"culvert/controlplane/config"
	"culvert/controlplane/rulefile"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/rules"
)

// Setup is a configuration and the rules it names, both found right.
type Setup struct {
	Config *config.Config
	Rules  *rules.Set
}

// Mistake is one thing that is wrong in a file: Error is one line with its place, Detail shows the line and
// points at it.
type Mistake interface {
	error
	Detail() string
}

// Load reads a configuration and its rule files and returns every mistake in them.
func Load(file string) (*Setup, []Mistake) {
	c, found := config.Load(file)
	if len(found) > 0 {
		return nil, mistakes(found)
	}
	if found := slices.Concat(checkTags(c), checkTokens(c), checkProbes(c)); len(found) > 0 {
		return nil, mistakes(found)
	}
	groups, wrong := rulefile.Load(c.Rules.Files)
	set, more := rules.Compile(groups)
	if wrong = append(wrong, more...); len(wrong) == 0 {
		wrong = set.CheckActions(notifierNames(c))
	}
	rules.SortErrors(wrong)
	if len(wrong) > 0 {
		return nil, mistakes(wrong)
	}
	return &Setup{Config: c, Rules: set}, nil
}

// checkTags finds the listeners' tags that no line can hold: every point of such a listener would be refused.
func checkTags(c *config.Config) (found []*config.Error) {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		for name, value := range l.Tags {
			if !lineproto.ValidTag(name, value) {
				found = append(found, unwritable(c, fmt.Sprintf("listeners[%d].tags.%s", i, name),
					name+"="+value))
			}
		}
		if l.SourceTag != "" && !lineproto.ValidTag(l.SourceTag, "x") {
			found = append(found, unwritable(c, fmt.Sprintf("listeners[%d].source_tag", i), l.SourceTag))
		}
	}
	return found
}

func unwritable(c *config.Config, key, tag string) *config.Error {
	return c.Mistake(key, "Line Protocol has no way to write the tag %s: a backslash cannot end a name or a "+
		"value, nor stand in pairs before a comma, an equals sign or a space", tag)
}

// checkTokens finds the tokens and certificates that can't be had.
func checkTokens(c *config.Config) (found []*config.Error) {
	for i := range c.Sinks {
		if _, err := readToken(c.Sinks[i].TokenFile); err != nil {
			found = append(found, c.Mistake(fmt.Sprintf("sinks[%d].token_file", i), "%v", err))
		}
	}
	for i := range c.Sinks {
		if _, err := tlsOf(&c.Sinks[i].TLS); err != nil {
			found = append(found, c.Mistake(fmt.Sprintf("sinks[%d].tls", i), "%v", err))
		}
	}
	if _, err := readToken(c.HTTP.TokenFile); err != nil {
		found = append(found, c.Mistake("http.token_file", "%v", err))
	}
	return found
}

// checkProbes finds names of probes that there are none of.
func checkProbes(c *config.Config) (found []*config.Error) {
	for i, name := range c.Probes.Except {
		if names := probeNames(); !slices.Contains(names, name) {
			found = append(found, c.Mistake(fmt.Sprintf("probes.except[%d]", i),
				"there is no probe %q, only %s", name, strings.Join(names, ", ")))
		}
	}
	return found
}

// ReadToken reads the token of the HTTP interface; empty where no file is named.
func ReadToken(c *config.Config) (string, error) { return readToken(c.HTTP.TokenFile) }

func mistakes[E Mistake](list []E) []Mistake {
	all := make([]Mistake, len(list))
	for i := range list {
		all[i] = list[i]
	}
	return all
}

func notifierNames(c *config.Config) []string {
	names := make([]string, len(c.Notifiers))
	for i := range names {
		names[i] = c.Notifiers[i].Name
	}
	return names
}
