// Package render writes what commands have to say: tables, Go templates, JSON
// documents, progress of transfers, sizes and times. Looks and field names
// are Docker's, because scripts read them.
//
// It knows nothing of the API's nouns: callers hand over rows, whose methods
// are the placeholders, or documents. Nothing here is built before it is
// needed: start-up time counts.
package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// ParseTemplate parses a --format template with Docker's functions.
func ParseTemplate(text string) (*template.Template, error) {
	t, err := newTemplate("", text)
	if err != nil {
		return nil, fmt.Errorf("failed to parse template: %w", err)
	}
	return t, nil
}

func newTemplate(name, text string) (*template.Template, error) {
	return template.New(name).Funcs(functions()).Parse(text)
}

// ParseNamedTemplate is ParseTemplate for the commands whose errors name the
// template.
func ParseNamedTemplate(name, text string) (*template.Template, error) {
	t, err := newTemplate(name, text)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return t, nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFunctions leave headings as they are where a function would change
// the case or the coding of a value.
func headerFunctions() template.FuncMap {
	same := func(v string) string { return v }
	return template.FuncMap{
		"json":     same,
		"title":    same,
		"lower":    same,
		"upper":    same,
		"truncate": func(v string, _ int) string { return v },
		"join":     func(v, _ string) string { return v },
		"split":    func(v, _ string) string { return v },
	}
}

func toJSON(v any) (string, error) {
	if m, ok := rowMap(v); ok {
		// Docker escapes <, > and & in whole rows, though not in single fields.
		b, err := json.Marshal(m)
		return string(b), err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}

// join takes the elements as any list, since fields come as []string or, from
// undecoded JSON, as []any.
func join(elems any, sep string) (string, error) {
	if s, ok := elems.([]string); ok {
		return strings.Join(s, sep), nil
	}
	v := reflect.ValueOf(elems)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return "", fmt.Errorf("join of %T: not a list", elems)
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, sep), nil
}

// title puts the first letter of each word in upper case.
func title(s string) string {
	previous := ' '
	return strings.Map(func(r rune) rune {
		start := !unicode.IsLetter(previous) && !unicode.IsDigit(previous) && previous != '_' && previous != '\''
		previous = r
		if start {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
}

func truncate(s string, n int) string {
	if n < 0 || len(s) < n {
		return s
	}
	return s[:n]
}

// Ellipsis shortens s to width characters, the last being an ellipsis if
// something was cut off.
func Ellipsis(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	if width == 1 {
		return string([]rune(s)[:1])
	}
	return string([]rune(s)[:width-1]) + "…"
}

// ShortID cuts an ID to twelve digits and drops the digest's algorithm.
func ShortID(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// Row is one line of a listing: a pointer to a struct whose methods without
// arguments are the placeholders of templates.
type Row any

// rowMap calls the placeholders of a row; its second result is false if v is
// none, as it has no methods.
func rowMap(v any) (map[string]any, bool) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() || rv.Kind() != reflect.Pointer || rv.Elem().Kind() != reflect.Struct || rv.NumMethod() == 0 {
		return nil, false
	}
	if _, ok := v.(isRow); !ok {
		return nil, false
	}
	m := make(map[string]any, rv.NumMethod())
	t := rv.Type()
	for i := range t.NumMethod() {
		name := t.Method(i).Name
		if method := rv.Method(i); name != "GantryRow" && method.Type().NumIn() == 0 && method.Type().NumOut() == 1 {
			m[name] = method.Call(nil)[0].Interface()
		}
	}
	return m, true
}

type isRow interface{ GantryRow() }

// Base marks a struct as a row when embedded.
type Base struct{}

// GantryRow is the mark.
func (Base) GantryRow() {}
