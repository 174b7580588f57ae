package config

import (
	"fmt"
	"net/netip"

	"github.com/goccy/go-yaml/ast"
)

func (d *decoder) addresses(node ast.Node, into *Addresses, key string) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		scalar(d, node, into, key, func(text string) (Addresses, error) {
			if text == "auto" {
				return nil, nil
			}
			address, err := parseAddress(text)
			return Addresses{address}, err
		})
		return
	}
	*into = Addresses{}
	for i, item := range sequence.Values {
		var address netip.Addr
		path := fmt.Sprintf("%s[%d]", key, i)
		if item = d.plain(item, path); item != nil && scalar(d, item, &address, path, parseAddress) {
			*into = append(*into, address)
		}
	}
	if len(sequence.Values) == 0 {
		d.fail(node, key, "the list is empty: name an address, or write auto")
	}
}

func (d *decoder) urls(node ast.Node, into *URLs, key string) {
	plain := func(text string) (string, error) { return text, nil }
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		scalar(d, node, into, key, func(text string) (URLs, error) { return URLs{text}, nil })
		return
	}
	*into = URLs{}
	for i, item := range sequence.Values {
		var one string
		path := fmt.Sprintf("%s[%d]", key, i)
		d.positions.at[path] = whereOf(item)
		if item = d.plain(item, path); item != nil && scalar(d, item, &one, path, plain) {
			*into = append(*into, one)
		}
	}
	if len(sequence.Values) == 0 {
		d.fail(node, key, "the list is empty: name a URL")
	}
}
