package logstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
)

func write(t *testing.T, w *jsonfile.Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := w.Write("stdout", fmt.Appendf(nil, "line %d\n", i), time.Unix(int64(1000+i), 0), false); err != nil {
			t.Fatal(err)
		}
	}
}

func collect(t *testing.T, path string, o Options) []string {
	t.Helper()
	var got []string
	if err := Read(t.Context(), path, o, func(e *Entry) error { got = append(got, string(e.Line)); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func check(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("got %d entries, want %d (%d to %d): %q", len(got), to-from, from, to, got)
	}
	for i, g := range got {
		if want := fmt.Sprintf("line %d\n", from+i); g != want {
			t.Fatalf("entry %d is %q, want %q", i, g, want)
		}
	}
}

func TestReadAcrossRotations(t *testing.T) {
	for _, gz := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "log")
		w, err := jsonfile.New(path, 1000, 100, gz, nil)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, 0, 200)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, collect(t, path, Options{Tail: -1}), 0, 200)
		for _, n := range []int{0, 1, 5, 13, 50, 199, 200, 500} {
			check(t, collect(t, path, Options{Tail: n}), 200-min(n, 200), 200)
		}
		check(t, collect(t, path, Options{Tail: -1, Since: time.Unix(1100, 0)}), 100, 200)
		check(t, collect(t, path, Options{Tail: -1, Until: time.Unix(1099, 0)}), 0, 100)
	}
}

func TestMissingLogIsEmpty(t *testing.T) {
	check(t, collect(t, filepath.Join(t.TempDir(), "none"), Options{Tail: -1}), 0, 0)
}

func TestTornLastLineIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := jsonfile.New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, 0, 3)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"log":"half`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	check(t, collect(t, path, Options{Tail: -1}), 0, 3)
}

// Following over many rotations gives every line once, in order.
func TestFollowAcrossRotations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := jsonfile.New(path, 2000, 1000, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, 0, 10)
	done := make(chan struct{})
	seen := make(chan struct{})
	go func() {
		<-seen
		for i := 10; i < 2000; i++ {
			_ = w.Write("stdout", fmt.Appendf(nil, "line %d\n", i), time.Now(), false)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		_ = w.Close()
		close(done)
	}()
	var got []string
	err = Read(t.Context(), path, Options{Tail: -1, Follow: true, Done: done}, func(e *Entry) error {
		if got = append(got, string(e.Line)); len(got) == 1 {
			close(seen)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, got, 0, 2000)
}

func TestFollowEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	path := filepath.Join(t.TempDir(), "log")
	go func() {
		ended <- Read(ctx, path, Options{Tail: -1, Follow: true, Done: make(chan struct{})}, func(*Entry) error { return nil })
	}()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("follow did not end with its context")
	}
}

func TestFormat(t *testing.T) {
	var b bytes.Buffer
	e := &Entry{Stream: "stderr", Line: []byte("x\n"), Time: time.Unix(0, 5).UTC(), Attrs: map[string]string{"b": "2", "a": "1 1"}}
	if err := (Format{Stderr: true, Timestamps: true, Details: true}).Writer(&b)(e); err != nil {
		t.Fatal(err)
	}
	text := "1970-01-01T00:00:00.000000005Z a=1+1,b=2 x\n"
	if want := "\x02\x00\x00\x00\x00\x00\x00" + string(rune(len(text))) + text; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	if err := (Format{Stdout: true}).Writer(&b)(e); err != nil || b.Len() != 0 {
		t.Errorf("stderr entry written though only stdout is wanted: %q %v", b.String(), err)
	}
}

// TestGapInNames: a rotation that a crash interrupted left no path.1.
func TestGapInNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path+".3", rawEntry("a\n"))
	appendRaw(t, path+".2", rawEntry("b\n"))
	appendRaw(t, path, rawEntry("c\n"))
	if got := collect(t, path, Options{Tail: -1}); fmt.Sprint(got) != fmt.Sprint([]string{"a\n", "b\n", "c\n"}) {
		t.Errorf("%q", got)
	}
}

func TestTailDoesNotCountATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for i := range 5 {
		appendRaw(t, path, rawEntry(fmt.Sprintf("line %d\n", i)))
	}
	appendRaw(t, path, `{"log":"torn`)
	for n := range 7 {
		check(t, collect(t, path, Options{Tail: n}), 5-min(n, 5), 5)
	}
}

// TestDamage: what is no entry hides no other.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path+".2.gz", []byte("not gzip at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := jsonfile.New(path+"x", 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, 0, 2)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path + "x")
	if err != nil {
		t.Fatal(err)
	}
	appendRaw(t, path+".1", string(whole)+"\x00\x00\x00\x00"+strings.Repeat("z", 5<<20)+"\nnull\n[]\n\n")
	appendRaw(t, path, rawEntry("line 2\n")+"garbage\n"+rawEntry("line 3\n"))
	check(t, collect(t, path, Options{Tail: -1}), 0, 4)
}

func TestSinceSkipsOldFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	appendRaw(t, path+".1", rawEntry("old\n"))
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(path+".1", old, old); err != nil {
		t.Fatal(err)
	}
	appendRaw(t, path, rawEntry("also old\n"))
	appendRaw(t, path, strings.Replace(rawEntry("new\n"), "2026-01-02", "2026-06-01", 1))
	if got := collect(t, path, Options{Tail: -1, Since: old.Add(time.Second)}); len(got) != 1 || got[0] != "new\n" {
		t.Errorf("%q", got)
	}
	if got := collect(t, path, Options{Tail: -1, Since: old}); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w, err := jsonfile.New(path, 0, 1, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	const n = 100_000
	for i := range n {
		if err := w.Append("stdout", fmt.Appendf(nil, "a line of a typical length, with a number %d\n", i), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	for _, tail := range []int{-1, 10} {
		b.Run(fmt.Sprint("tail ", tail), func(b *testing.B) {
			for b.Loop() {
				emit := Format{Stdout: true, Timestamps: true}.Writer(io.Discard)
				if err := Read(b.Context(), path, Options{Tail: tail}, emit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSinceTheLastMoment: a file's own time lags behind that of its entries.
func TestSinceTheLastMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := jsonfile.New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if err := errors.Join(w.Write("stdout", []byte("last\n"), at, false), w.Close(), os.Chtimes(path, at, at.Add(-4*time.Millisecond))); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = Read(t.Context(), path, Options{Since: at, Tail: -1}, func(*Entry) error { n++; return nil })
	if err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
}
