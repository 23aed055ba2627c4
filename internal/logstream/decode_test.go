package logstream

import (
	"maps"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	var d decoder
	for _, c := range []struct {
		line, log string
		fast      bool
	}{
		{`{"log":"plain\n","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}`, "plain\n", true},
		{`{"log":"\u003ctag\u003e \"q\" \\ \/ \t\r\b\f\u0000","stream":"stderr","time":"2026-01-02T03:04:05Z"}`, "<tag> \"q\" \\ / \t\r\b\f\x00", true},
		{`{"log":"日本 \u65e5 \ud83d\ude00 \ud83d x","stream":"stdout","time":"2026-01-02T03:04:05Z"}`, "日本 日 😀 \ufffd x", true},
		{`{"log":"","stream":"stdout","attrs":{"a":"1","b":"\"x\""},"time":"2026-01-02T03:04:05Z"}`, "", true},
		{`{"log":"x","stream":"stdout","time":"2026-01-02T03:04:05+02:00"}`, "x", false},
		{`{ "stream":"stdout", "log":"x", "time":"2026-01-02T03:04:05Z" }`, "x", false},
		{`{"log":"x","stream":"other","time":"2026-01-02T03:04:05Z"}`, "x", false},
	} {
		if _, fast := d.fast([]byte(c.line)); fast != c.fast {
			t.Errorf("%s: parsed by hand %v; want %v", c.line, fast, c.fast)
		}
		got, err := d.decode([]byte(c.line + "\n"))
		if err != nil || string(got.Line) != c.log {
			t.Errorf("%s: %q, %v; want %q", c.line, got.Line, err, c.log)
		}
		if got.Partial == strings.HasSuffix(c.log, "\n") {
			t.Errorf("%s: partial %v", c.line, got.Partial)
		}
	}
}

// FuzzDecode: the parser by hand takes only what encoding/json takes, and sees
// the same in it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"log":"x\n","stream":"stdout","time":"2020-01-01T00:00:00Z"}`,
		`{"log":"\ud83d\ude00\u0000","stream":"stderr","attrs":{"k":"v"},"time":"2020-01-01T00:00:00.123456789Z"}`,
		`{"log":`, `{"log":"a` + "\xc3\x28\x01" + `","stream":"stdout","time":"2020-01-01T00:00:00Z"}`,
		`{"log":"x","stream":"stdout","attrs":null,"time":"2020-01-01T0:00:00,5Z"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var d decoder
		got, ok := d.fast(line)
		if !ok {
			return
		}
		want, err := slow(line)
		if err != nil {
			t.Fatalf("%q is invalid: %v", line, err)
		}
		if string(got.Line) != string(want.Line) || got.Stream != want.Stream || !got.Time.Equal(want.Time) || !maps.Equal(got.Attrs, want.Attrs) {
			t.Fatalf("%q: %+v; want %+v", line, got, want)
		}
		again, ok := d.fast(line)
		if !ok || !maps.Equal(again.Attrs, want.Attrs) {
			t.Fatalf("%q: the second time %+v, %v", line, again, ok)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	line := []byte(`{"log":"a line of a typical length, with some words and a number 12345678\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}` + "\n")
	b.Run("hand", func(b *testing.B) {
		var d decoder
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if _, err := d.decode(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if _, err := slow(line); err != nil {
				b.Fatal(err)
			}
		}
	})
}
