package config

import (
	"fmt"
	"reflect"
)

// Differences are the keys whose values differ in two configurations, such as listeners[0].port, in the order
// of the schema. A list with more or fewer items is one difference.
func Differences(a, b *Config) []string {
	return differences(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "")
}

func differences(a, b reflect.Value, path string) (found []string) {
	switch {
	case same(a, b):
		return nil
	case isSection(a.Type()):
		k := keysOf(a.Type())
		for _, name := range k.names {
			i := k.index[name]
			found = append(found, differences(a.Field(i), b.Field(i), join(path, name))...)
		}
		return found
	case a.Kind() == reflect.Slice && a.Len() == b.Len() && isSection(a.Type().Elem()):
		for i := range a.Len() {
			found = append(found, differences(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
		return found
	}
	return []string{path}
}

// isSection tells values that have keys of their own.
func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && len(keysOf(t).names) > 0 }
