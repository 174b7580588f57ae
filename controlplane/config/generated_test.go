package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write schema.json and the tables of docs/configuration.md anew")

const (
	schemaFile = "schema.json"
	docsFile   = "../../docs/configuration.md"
	tableBegin = "<!-- keys: generated from the Go types by `make generate` -->\n"
	tableEnd   = "<!-- end of keys -->\n"
)

// Goal: the committed schema and the reference in the documentation say what the types say. Method: both are
// made from the types, their tags, their comments and the defaults, and compared; -update writes them.
func TestGeneratedSchema(t *testing.T) {
	schema := schemaOf(reflect.TypeFor[Config](), reflect.ValueOf(*Default()), comments(t), "Config")
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Culvert configuration"
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	compare(t, schemaFile, text.Bytes())
}

func TestGeneratedDocumentation(t *testing.T) {
	docs, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(docs), tableBegin)
	_, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s has no place for the tables between %q and %q", docsFile, tableBegin, tableEnd)
	}
	var table strings.Builder
	sections(&table, comments(t))
	compare(t, docsFile, []byte(head+tableBegin+table.String()+tableEnd+tail))
}

func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types give (%v): run make generate", path, err)
	}
}

// comments are the fields' comments, by "Type.Field", in one line each.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, field := range fields.Fields.List {
			for _, name := range field.Names {
				found[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
			}
		}
		return false
	})
	return found
}

// prototype is a value of a type with its defaults.
func prototype(t reflect.Type) reflect.Value {
	value := reflect.New(t)
	if d, ok := value.Interface().(defaulted); ok {
		d.setDefaults()
	}
	return value.Elem()
}

type object = map[string]any

// schemaOf describes a struct.
func schemaOf(t reflect.Type, defaults reflect.Value, comments map[string]string, name string) object {
	properties, required := object{}, []string{}
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		property := propertyOf(field, defaults.Field(i), comments)
		property["description"] = comments[name+"."+field.Name]
		if field.Tag.Get("later") == "*" {
			property["description"] = property["description"].(string) +
				" Not supported by this version: only the default is accepted."
		}
		properties[key] = property
		if field.Tag.Get("required") != "" {
			required = append(required, key)
		}
	}
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// Patterns of what is written as a text.
const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`
	sizePattern     = `^[0-9]+ *(KiB|MiB|GiB)?$`
	percentPattern  = `^[0-9]+(\.[0-9]+)?%$`
	numbersPattern  = `^(auto|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$`
)

func propertyOf(field reflect.StructField, value reflect.Value, comments map[string]string) object {
	text := func(pattern string) object { return object{"type": "string", "pattern": pattern} }
	list := func(of object) object { return object{"type": "array", "items": of} }
	var p object
	switch value.Interface().(type) {
	case BusyPoll:
		number := object{"type": "integer", "minimum": 1, "maximum": busyPollMax}
		p = object{"anyOf": []any{object{"enum": []any{"off", "on", false, true}},
			object{"type": "object", "additionalProperties": false,
				"properties": object{"budget": number, "usecs": number}}}}
	case Numbers:
		number := object{"type": "integer", "minimum": 0}
		p = object{"anyOf": []any{text(numbersPattern), number,
			list(object{"anyOf": []any{number, text(numbersPattern)}})}, "default": "auto"}
	case Addresses:
		address := object{"type": "string"}
		p = object{"anyOf": []any{address, list(address)}, "default": "auto"}
	case URLs:
		return object{"anyOf": []any{object{"type": "string"}, list(object{"type": "string"})}}
	case Node:
		p = object{"anyOf": []any{object{"const": "local"}, object{"type": "integer", "minimum": 0}}}
	case map[string]string:
		scalar := object{"type": []string{"string", "number", "boolean"}}
		return object{"type": "object", "additionalProperties": scalar}
	case Size:
		p = object{"anyOf": []any{text(sizePattern), object{"type": "integer", "minimum": 0}}}
	case Percent:
		p = text(percentPattern)
	case time.Duration:
		p = text(durationPattern)
	case []netip.Prefix, []string:
		return list(object{"type": "string"})
	case string:
		p = object{"type": "string"}
	case bool:
		p = object{"type": "boolean"}
	case int:
		p = object{"type": "integer"}
		for tag, keyword := range map[string]string{"min": "minimum", "max": "maximum"} {
			if bound := field.Tag.Get(tag); bound != "" {
				p[keyword], _ = strconv.Atoi(bound)
			}
		}
	default:
		if field.Type.Kind() == reflect.Slice {
			element := field.Type.Elem()
			return list(schemaOf(element, prototype(element), comments, element.Name()))
		}
		return schemaOf(field.Type, value, comments, field.Type.Name())
	}
	if enum := field.Tag.Get("enum"); enum != "" {
		var values []any
		for v := range strings.SplitSeq(enum, ",") {
			values = append(values, v)
			if n, err := strconv.Atoi(v); err == nil && value.Kind() == reflect.Int {
				values[len(values)-1] = n
			} else if v == "on" || v == "off" {
				// A reader of YAML 1.1 takes these words for booleans.
				values = append(values, v == "on")
			}
		}
		p["enum"] = values
		delete(p, "type")
	}
	if _, there := p["default"]; !there && field.Tag.Get("required") == "" {
		p["default"] = plainDefault(value)
	}
	return p
}

func plainDefault(value reflect.Value) any {
	switch value.Interface().(type) {
	case int, bool, string:
		return value.Interface()
	case BusyPoll:
		return "off"
	}
	return textOf(value)
}

// sections writes one table for each section, in the order of the schema.
func sections(w *strings.Builder, comments map[string]string) {
	top := reflect.ValueOf(*Default())
	for i := range top.NumField() {
		field := top.Type().Field(i)
		key := field.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		fmt.Fprintf(w, "\n### `%s`\n\n%s", key, comments["Config."+field.Name])
		switch {
		case field.Type.Kind() == reflect.Struct:
			fmt.Fprint(w, tableHead)
			rows(w, "", top.Field(i), comments)
		case field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct:
			fmt.Fprint(w, "\nA list; each element has", tableHead)
			rows(w, "", prototype(field.Type.Elem()), comments)
		default:
			fmt.Fprintf(w, "\nDefault `%s`.%s\n", textOf(top.Field(i)), notYet(field.Tag))
		}
	}
	fmt.Fprintln(w)
}

const tableHead = "\n\n| key | values | default | |\n| --- | --- | --- | --- |\n"

func rows(w *strings.Builder, prefix string, defaults reflect.Value, comments map[string]string) {
	t := defaults.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		key, value := prefix+field.Tag.Get("yaml"), defaults.Field(i)
		_, isPoll := value.Interface().(BusyPoll)
		if field.Type.Kind() == reflect.Struct && !isPoll {
			rows(w, key+".", value, comments)
			continue
		}
		shown := "`" + textOf(value) + "`"
		switch {
		case isPoll:
			shown = "`off`"
		case field.Tag.Get("required") != "":
			shown = "required"
		case value.Kind() == reflect.Slice && value.Len() == 0 && !strings.Contains(shown, "auto"):
			shown = "`[]`"
		case value.Kind() == reflect.Map:
			shown = "`{}`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s%s |\n", key, kindOf(field, value), shown,
			comments[t.Name()+"."+field.Name], notYet(field.Tag))
	}
}

// kindOf says what may stand behind a key.
func kindOf(field reflect.StructField, value reflect.Value) string {
	if enum := field.Tag.Get("enum"); enum != "" {
		return "`" + strings.ReplaceAll(enum, ",", "`, `") + "`"
	}
	kind := map[string]string{
		"BusyPoll": "`off`, `on`, or both numbers",
		"Numbers":  "`auto` or a list", "Addresses": "`auto` or a list",
		"URLs": "text or a list",
		"Node": "`local` or a number", "Size": "size", "Percent": "percent", "Duration": "time",
		"int": "number", "bool": "`true`, `false`", "string": "text", "": "list",
	}[field.Type.Name()]
	if value.Kind() == reflect.Map {
		kind = "names and values"
	}
	least, most := field.Tag.Get("min"), field.Tag.Get("max")
	switch {
	case least != "" && most != "":
		return fmt.Sprintf("%s, %s to %s", kind, least, most)
	case least != "":
		return fmt.Sprintf("%s, at least %s", kind, least)
	}
	return kind
}

func notYet(tag reflect.StructTag) string {
	switch later := tag.Get("later"); later {
	case "":
		return ""
	case "*":
		return " **Not in this version**: only the default is accepted."
	default:
		return " Not in this version: `" + strings.ReplaceAll(later, ",", "`, `") + "`."
	}
}
