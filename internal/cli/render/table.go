package render

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"text/template"
)

// Headers maps placeholders to the headings of their columns.
type Headers map[string]string

// Label is the heading of {{.Label "key"}}: the key's last part as words.
func (Headers) Label(key string) string {
	parts := strings.Split(key, ".")
	return strings.NewReplacer("-", " ", "_", " ").Replace(parts[len(parts)-1])
}

// Listing says how rows are shown.
type Listing struct {
	Format  string   // --format: "", table, table TEMPLATE, json, raw or TEMPLATE
	Quiet   bool     // only Key
	Key     string   // the placeholder that -q shows
	Columns []string // placeholders of the default table, in order
	Headers Headers
	Raw     string // the template of "raw"; "" if there is none
}

const (
	formatTable = "table"
	formatJSON  = "json"
	formatRaw   = "raw"
)

// IsTable tells whether the format is a table of some kind.
func (l Listing) IsTable() bool { return l.Format == "" || strings.HasPrefix(l.Format, formatTable) }

// Write shows the rows.
func (l Listing) Write(w io.Writer, rows []Row) error {
	switch {
	case l.Quiet && (l.Format == "" || l.Format == formatTable || l.Format == formatRaw && l.Raw != ""):
		return l.writeKeys(w, rows)
	case l.Format == "" || l.Format == formatTable:
		return l.writeDefault(w, rows)
	}
	text := l.Format
	switch {
	case text == formatJSON:
		text = "{{json .}}"
	case text == formatRaw && l.Raw != "":
		text = l.Raw
	}
	return l.writeTemplate(w, rows, text)
}

func (l Listing) writeKeys(w io.Writer, rows []Row) error {
	var b bytes.Buffer
	for _, row := range rows {
		b.WriteString(field(row, l.Key))
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (l Listing) writeDefault(w io.Writer, rows []Row) error {
	var b bytes.Buffer
	tw := newTabWriter(&b)
	for i, c := range l.Columns {
		if i > 0 {
			_, _ = io.WriteString(tw, "\t") // tw writes to memory
		}
		_, _ = io.WriteString(tw, l.Headers[c])
	}
	for _, row := range rows {
		_, _ = io.WriteString(tw, "\n")
		for i, c := range l.Columns {
			if i > 0 {
				_, _ = io.WriteString(tw, "\t")
			}
			_, _ = io.WriteString(tw, field(row, c))
		}
	}
	_, _ = io.WriteString(tw, "\n")
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (l Listing) writeTemplate(w io.Writer, rows []Row, text string) error {
	text, table := strings.CutPrefix(strings.Trim(text, " "), formatTable)
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(text, " "))
	t, err := ParseTemplate(text)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	var out io.Writer = &b
	var tw *tabwriter.Writer
	if table {
		tw = newTabWriter(&b)
		out = tw
		if err := l.writeHeader(tw, t); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := t.Execute(out, row); err != nil {
			return fmt.Errorf("failed to execute template: %w", err)
		}
		_, _ = io.WriteString(out, "\n")
	}
	if tw != nil {
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	_, err = w.Write(b.Bytes())
	return err
}

func (l Listing) writeHeader(w io.Writer, t *template.Template) error {
	header, err := t.Clone()
	if err != nil {
		return err
	}
	if err := header.Funcs(headerFunctions()).Execute(w, l.Headers); err != nil {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	_, err = io.WriteString(w, "\n")
	return err
}

// Columns of at least ten characters with three blanks between them are what
// Docker's tables have.
func newTabWriter(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
}

func field(row Row, name string) string {
	m := reflect.ValueOf(row).MethodByName(name)
	if !m.IsValid() {
		panic("render: row has no placeholder " + name)
	}
	return fmt.Sprint(m.Call(nil)[0].Interface())
}
