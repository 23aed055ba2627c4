package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// Document is one inspected object.
type Document struct {
	Typed any             // pointer to the API's struct; nil: only Raw
	Raw   json.RawMessage // as the daemon sent it
}

// Inspection collects inspected objects and writes them as Docker's inspect
// commands do: one JSON array, or a template's result per object.
type Inspection struct {
	tmpl     *template.Template
	json     bool // the array without indentation
	rawFirst bool
	docs     []Document
	out      bytes.Buffer
}

// NewInspection parses the format: "" for the array, "json" for the array
// without indentation, otherwise a template.
func NewInspection(format string) (*Inspection, error) {
	i := &Inspection{}
	switch format {
	case "":
	case formatJSON:
		i.json = true
	default:
		t, err := newTemplate("", format)
		if err != nil {
			return nil, &TemplateError{fmt.Errorf("template parsing error: %w", err)}
		}
		i.tmpl = t
		i.rawFirst = asksForAddress(format)
	}
	return i, nil
}

// asksForAddress tells whether a template tests an address. In the API's
// structs an absent address is a value that counts as true; in the JSON it is
// the empty string that scripts expect.
func asksForAddress(format string) bool {
	return containsAny(format, "IP", "Ip", "Gateway", "Subnet") &&
		containsAny(format, "if ", "with ", "and ", "or ", "not ", "eq ", "ne ", "len ")
}

// printsNoAddress tells whether such a value was printed.
func printsNoAddress(text string) bool { return containsAny(text, "invalid IP", "invalid Prefix") }

func containsAny(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// TemplateError is a template that does not parse; Docker's exit code for it
// differs from that of other errors.
type TemplateError struct{ Err error }

// Error gives the text.
func (e *TemplateError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *TemplateError) Unwrap() error { return e.Err }

// Add adds an object. Errors are the template's.
func (i *Inspection) Add(d Document) error {
	if i.tmpl == nil {
		i.docs = append(i.docs, d)
		return nil
	}
	text, err := i.execute(d)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	i.out.WriteString(text)
	i.out.WriteByte('\n')
	return nil
}

func (i *Inspection) execute(d Document) (string, error) {
	if d.Typed == nil || i.rawFirst {
		text, err := i.executeRaw(d)
		if err == nil || d.Typed == nil {
			return text, err
		}
		if text, typedErr := i.executeTyped(d); typedErr == nil {
			return text, nil
		}
		return "", err
	}
	typed, typedErr := i.executeTyped(d)
	if typedErr == nil && !printsNoAddress(typed) {
		return typed, nil
	}
	raw, err := i.executeRaw(d)
	if err != nil && typedErr == nil {
		return typed, nil
	}
	return raw, err
}

func (i *Inspection) executeTyped(d Document) (string, error) {
	var b bytes.Buffer
	err := i.tmpl.Execute(&b, d.Typed)
	return b.String(), err
}

func (i *Inspection) executeRaw(d Document) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(d.Raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", err
	}
	t, err := i.tmpl.Clone()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.Option("missingkey=error").Execute(&b, plainNumbers(v))
	return b.String(), err
}

// plainNumbers turns JSON numbers into Go's, which templates can compare.
func plainNumbers(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = plainNumbers(e)
		}
	case []any:
		for k, e := range x {
			x[k] = plainNumbers(e)
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil {
			return f
		}
	}
	return v
}

// Flush writes everything that was added.
func (i *Inspection) Flush(w io.Writer) error {
	switch {
	case i.tmpl != nil:
		if i.out.Len() == 0 {
			i.out.WriteByte('\n')
		}
	default:
		if err := i.array(i.json); err != nil {
			return err
		}
	}
	_, err := w.Write(i.out.Bytes())
	return err
}

func (i *Inspection) array(compact bool) error {
	if len(i.docs) == 0 {
		i.out.WriteString("[]\n")
		return nil
	}
	var all bytes.Buffer
	for n, d := range i.docs {
		if n == 0 {
			all.WriteByte('[')
		} else {
			all.WriteByte(',')
		}
		all.Write(bytes.TrimSpace(d.Raw))
	}
	all.WriteByte(']')
	var err error
	if compact {
		err = json.Compact(&i.out, all.Bytes())
	} else {
		err = json.Indent(&i.out, all.Bytes(), "", "    ")
	}
	if err != nil {
		return err
	}
	i.out.WriteByte('\n')
	return nil
}
