package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

type testRow struct {
	Base
	id, name string
	labels   map[string]string
}

func (r *testRow) ID() string               { return r.id }
func (r *testRow) Name() string             { return r.name }
func (r *testRow) Label(name string) string { return r.labels[name] }

func testListing() Listing {
	return Listing{Key: "ID", Columns: []string{"ID", "Name"}, Headers: Headers{"ID": "THE ID", "Name": "NAME"}, Raw: `id: {{.ID}}\n`}
}

func TestListing(t *testing.T) {
	rows := []Row{&testRow{id: "1", name: "a longer name", labels: map[string]string{"com.x.some-role": "r"}}, &testRow{id: "23", name: "<b>"}}
	for _, c := range []struct {
		format string
		quiet  bool
		want   string
	}{
		{"", false, "THE ID    NAME\n1         a longer name\n23        <b>\n"},
		{"table", false, "THE ID    NAME\n1         a longer name\n23        <b>\n"},
		{"", true, "1\n23\n"},
		{"raw", false, "id: 1\n\nid: 23\n\n"},
		{"raw", true, "1\n23\n"},
		{"json", false, "{\"ID\":\"1\",\"Name\":\"a longer name\"}\n{\"ID\":\"23\",\"Name\":\"\\u003cb\\u003e\"}\n"},
		{"{{json .Name}}", false, "\"a longer name\"\n\"<b>\"\n"},
		{`table {{.Name}}\t{{.Label "com.x.some-role"}}`, false, "NAME            some role\na longer name   r\n<b>             \n"},
		{`table {{upper .Name}} {{truncate .ID 1}} {{json .ID}}`, false, "NAME THE ID THE ID\nA LONGER NAME 1 \"1\"\n<B> 2 \"23\"\n"},
		{`{{title .Name}}|{{pad .ID 1 2}}|{{join (split .Name " ") "-"}}`, false, "A Longer Name| 1  |a-longer-name\n<B>| 23  |<b>\n"},
	} {
		l := testListing()
		l.Format, l.Quiet = c.format, c.quiet
		var b bytes.Buffer
		if err := l.Write(&b, rows); err != nil || b.String() != c.want {
			t.Errorf("%q quiet=%v: %v\n got %q\nwant %q", c.format, c.quiet, err, b.String(), c.want)
		}
	}
}

func TestListingWritesNothingOnError(t *testing.T) {
	for _, format := range []string{"{{.ID", "{{.Nope}}", "table {{.Nope}}"} {
		l := testListing()
		l.Format = format
		var b bytes.Buffer
		if err := l.Write(&b, []Row{&testRow{id: "1"}}); err == nil || b.Len() > 0 {
			t.Errorf("%q: error %v, wrote %q", format, err, b.String())
		}
	}
}

func TestInspectionFallsBackToRaw(t *testing.T) {
	type typed struct {
		Running bool
		Code    int
	}
	doc := Document{Typed: &typed{Running: true, Code: 3}, Raw: json.RawMessage(`{"Running":true,"Code":3,"Extra":{"x":"y"},"IP":""}`)}
	for format, want := range map[string]string{
		"{{.Running}} {{.Code}}":                          "true 3\n",
		"{{.Extra.x}}":                                    "y\n",
		"{{if .IP}}has{{else}}none{{end}}":                "none\n",
		"{{if eq .Code 3}}three{{end}}":                   "three\n",
		"{{if .Extra}}{{if eq .Code 3}}raw{{end}}{{end}}": "raw\n",
		"json": `[{"Running":true,"Code":3,"Extra":{"x":"y"},"IP":""}]` + "\n",
	} {
		i, err := NewInspection(format)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err = errors.Join(i.Add(doc), i.Flush(&b))
		if err != nil || b.String() != want {
			t.Errorf("%q: %q, %v; want %q", format, b.String(), err, want)
		}
	}
	i, _ := NewInspection("{{.Nope}}")
	if err := i.Add(doc); err == nil || !strings.Contains(err.Error(), `map has no entry for key "Nope"`) {
		t.Errorf("unknown field: %v", err)
	}
	if _, err := NewInspection("{{.Nope"); !errors.As(err, new(*TemplateError)) {
		t.Errorf("bad template: %v", err)
	}
}

// The stream and the terminal text were taken from Docker's CLI 28.2.2 on a
// terminal of 120 columns.
const (
	pullStream = `{"status":"Pulling from library/x","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Downloading","progressDetail":{"current":1000,"total":200000},"id":"aaaaaaaaaaaa"}
{"status":"Downloading","progressDetail":{"current":100000,"total":200000},"id":"aaaaaaaaaaaa"}
{"status":"Download complete","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Extracting","progressDetail":{"current":5,"units":"s"},"id":"bbbbbbbbbbbb"}
{"status":"Digest: sha256:9"}
{"stream":"text"}
`
	pullTerminal = "latest: Pulling from library/x\n" +
		"\n\x1b[1A\x1b[2K\raaaaaaaaaaaa: Pulling fs layer \r\x1b[1B" +
		"\n\x1b[1A\x1b[2K\rbbbbbbbbbbbb: Pulling fs layer \r\x1b[1B" +
		"\x1b[2A\x1b[2K\raaaaaaaaaaaa: Downloading [>                                                  ]      1kB/200kB\r\x1b[2B" +
		"\x1b[2A\x1b[2K\raaaaaaaaaaaa: Downloading [=========================>                         ]    100kB/200kB\r\x1b[2B" +
		"\x1b[2A\x1b[2K\raaaaaaaaaaaa: Download complete \r\x1b[2B" +
		"\x1b[1A\x1b[2K\rbbbbbbbbbbbb: Extracting 5 s\r\x1b[1B" +
		"Digest: sha256:9\ntext"
	pullPlain = "latest: Pulling from library/x\naaaaaaaaaaaa: Pulling fs layer\nbbbbbbbbbbbb: Pulling fs layer\n" +
		"aaaaaaaaaaaa: Download complete\nDigest: sha256:9\ntext"
)

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		p    Progress
		want string
	}{
		{Progress{TTY: true, Width: 120}, pullTerminal},
		{Progress{}, pullPlain},
	} {
		var b bytes.Buffer
		c.p.Out = &b
		if err := c.p.Copy(strings.NewReader(pullStream)); err != nil || b.String() != c.want {
			t.Errorf("tty=%v: %v\n got %q\nwant %q", c.p.TTY, err, b.String(), c.want)
		}
	}
}

func TestProgressErrors(t *testing.T) {
	var aux string
	p := Progress{Out: &bytes.Buffer{}, Aux: func(m json.RawMessage) { aux = string(m) }}
	err := p.Copy(strings.NewReader(`{"aux":{"a":1}}{"errorDetail":{"message":"denied"},"error":"denied"}`))
	if err == nil || err.Error() != "denied" || aux != `{"a":1}` {
		t.Errorf("error %v, aux %q", err, aux)
	}
	if err := p.Copy(strings.NewReader(`{"status":`)); err == nil {
		t.Error("a stream that breaks off is accepted")
	}
}

func TestBarFitsTheTerminal(t *testing.T) {
	m := jsonstream.Message{ID: "aaaaaaaaaaaa", Status: "Downloading", Progress: &jsonstream.Progress{Current: 50, Total: 100}}
	for _, width := range []uint{20, 40, 60, 80, 100, 110} {
		p := Progress{TTY: true, Width: width}
		if n := len(m.ID) + 2 + len(m.Status) + 1 + len(p.bar(m)); width >= 60 && n >= int(width) {
			t.Errorf("%d characters on a terminal of %d", n, width)
		} else if width >= 60 && !strings.Contains(p.bar(m), "=>") {
			t.Errorf("no bar on a terminal of %d: %q", width, p.bar(m))
		}
	}
	started := time.Unix(1000, 0)
	m.Progress.Start = started.Unix()
	p := Progress{Width: 120, Now: func() time.Time { return started.Add(7 * time.Second) }}
	if got := p.bar(m); !strings.HasSuffix(got, "     50B/100B 7s") {
		t.Errorf("time left: %q", got)
	}
}

func FuzzProgress(f *testing.F) {
	f.Add(pullStream, uint(80))
	f.Add(`{"status":"x","id":"a","progressDetail":{"current":-5,"total":3,"start":-1}}`, uint(0))
	f.Add(`{"status":"x","id":"a","progressDetail":{"current":9223372036854775807,"total":1,"start":1}}`, uint(200))
	f.Fuzz(func(t *testing.T, in string, width uint) {
		var b bytes.Buffer
		_ = Progress{Out: &b, TTY: true, Width: width % 1000}.Copy(strings.NewReader(in)) // it may fail, not panic
	})
}

func TestCompareNatural(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"net2", "net10", -1}, {"a", "b", -1}, {"a10", "a10", 0}, {"a010", "a10", 1}, {"a1b2", "a1b10", -1}, {"abc", "ab", 1}, {"", "a", -1}} {
		if got := CompareNatural(c.a, c.b); got != c.want {
			t.Errorf("CompareNatural(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestShortening(t *testing.T) {
	if got := Ellipsis("sleep 100 ünïcode and more", 20); got != "sleep 100 ünïcode a…" {
		t.Errorf("%q", got)
	}
	if got := ShortID("sha256:0123456789abcdef"); got != "0123456789ab" {
		t.Errorf("%q", got)
	}
}
