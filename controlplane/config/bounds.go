package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// textOf is a value as it would stand in the file.
func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case BusyPoll:
		if x.Budget != 0 || x.Usecs != 0 {
			return fmt.Sprintf("{budget: %d, usecs: %d}", x.Budget, x.Usecs)
		}
		return "on"
	case []string:
		return "[" + strings.Join(x, ", ") + "]"
	case time.Duration:
		return shortDuration(x)
	case string:
		if x == "" {
			return `""`
		}
		return x
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration is a time without the zero parts that String writes behind it.
func shortDuration(d time.Duration) string {
	text := strings.ReplaceAll(d.String(), "µ", "u")
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// inBounds says what is wrong with a value by its enum, min and max tags, or "".
func inBounds(v reflect.Value, tag reflect.StructTag) string {
	if enum := tag.Get("enum"); enum != "" {
		values, text := strings.Split(enum, ","), textOf(v) // Without those that only a later version takes.
		if slices.Contains(values, text) {
			return ""
		}
		if near := nearest(text, values); near != "" {
			return fmt.Sprintf("%q is none of %s: did you mean %q?", text, strings.Join(values, ", "), near)
		}
		return fmt.Sprintf("%q is none of %s", text, strings.Join(values, ", "))
	}
	if least := tag.Get("min"); least != "" && v.Int() < bound(v, least) {
		return fmt.Sprintf("%s is less than %s", textOf(v), least)
	}
	if most := tag.Get("max"); most != "" && v.Int() > bound(v, most) {
		return fmt.Sprintf("%s is more than %s", textOf(v), most)
	}
	return ""
}

// bound reads a bound in the notation of the value's own type.
func bound(v reflect.Value, text string) int64 {
	var n int64
	var err error
	switch v.Interface().(type) {
	case time.Duration:
		var d time.Duration
		d, err = time.ParseDuration(text)
		n = int64(d)
	case Size:
		var s Size
		s, err = parseSize(text)
		n = int64(s)
	default:
		var i int
		i, err = parseInt(text)
		n = int64(i)
	}
	if err != nil {
		panic(fmt.Sprintf("BUG: bound %q of a %s: %v", text, v.Type(), err))
	}
	return n
}
