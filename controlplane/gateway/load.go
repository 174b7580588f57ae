package gateway

import (
	"culvert/controlplane/config"
	"culvert/controlplane/rulefile"
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
	groups, wrong := rulefile.Load(c.Rules.Files)
	if len(wrong) > 0 {
		return nil, mistakes(wrong)
	}
	set, wrong := rules.Compile(groups)
	if len(wrong) == 0 {
		wrong = set.CheckActions(notifierNames(c))
	}
	if len(wrong) > 0 {
		return nil, mistakes(wrong)
	}
	return &Setup{Config: c, Rules: set}, nil
}

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
