package logstream

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
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

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"log":"x\n","stream":"stdout","time":"2020-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"log":`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := decode(line); err == nil && len(e.Line) > 6*len(line) {
			t.Fatalf("%d bytes grew to %d", len(line), len(e.Line))
		}
	})
}
