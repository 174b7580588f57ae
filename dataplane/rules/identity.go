package rules

import (
	"hash/fnv"
	"strconv"
)

// ruleIdentity tells a rule from all others, the same in every run: from its group, its name, and what its
// labels say.
func ruleIdentity(g *Group, r *Rule) uint64 {
	h := fnv.New64a()
	write := func(s string) { h.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) }
	write(g.Name.Source)
	write(r.name().Source)
	for i := range r.Labels {
		write(r.Labels[i].Name.Source)
		write(r.Labels[i].Value.Source)
	}
	return h.Sum64()
}

// contentHash is a hash of all that the groups say.
func contentHash(groups []Group) uint64 {
	var hashes []string
	for g := range groups {
		hashes = append(hashes, groups[g].Name.Source)
		for i := range groups[g].Rules {
			hashes = append(hashes, strconv.FormatUint(ruleHash(&groups[g], &groups[g].Rules[i]), 16))
		}
	}
	return textHash(hashes...)
}

// ruleHash is a hash of all that a rule and its group say.
func ruleHash(g *Group, r *Rule) uint64 {
	texts := []string{
		g.Name.Source, g.LatenessMin.Source, g.Affinity.Source, r.Kind.String(), strconv.FormatBool(r.HasBy),
	}
	for _, t := range []*Text{
		&r.Alert, &r.Record, &r.Expr, &r.For, &r.KeepFor, &r.Stale, &r.Absent, &r.Clear, &r.Every,
	} {
		texts = append(texts, t.Source)
	}
	for _, list := range [][]Text{r.On, r.By, r.Actions} {
		texts = append(texts, strconv.Itoa(len(list)))
		texts = append(texts, textsOf(list)...)
	}
	for _, pairs := range [][]Pair{r.Labels, r.Annotations, r.Fields} {
		texts = append(texts, strconv.Itoa(len(pairs)))
		for i := range pairs {
			texts = append(texts, pairs[i].Name.Source, pairs[i].Value.Source)
		}
	}
	return textHash(texts...)
}
