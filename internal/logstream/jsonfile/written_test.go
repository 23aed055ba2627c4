package jsonfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWritten counts the entries of one time at a log's end, over blocks, over
// rotated files, between those of the other stream and before a torn line.
func TestWritten(t *testing.T) {
	for _, maxSize := range []int64{0, 100 << 10} {
		path := filepath.Join(t.TempDir(), "log")
		w, err := New(path, maxSize, 10, false, map[string]string{"label": `,"stream":"stdout",`})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		at := time.Unix(1000, 5)
		add := func(stream string, n int, at time.Time) {
			t.Helper()
			for i := range n {
				if err := w.Append(stream, fmt.Appendf(nil, "%d%s\n", i, strings.Repeat(`"}`, i%7)), at); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		add("stdout", 3, at) // an earlier piece with the same time does not count
		add("stdout", 1, at.Add(1))
		add("stderr", 2, at)
		add("stdout", 3000, at)
		add("stderr", 5, at.Add(2))
		add("stdout", 4, at)
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(`{"log":"x","stream":"stdout",`); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			stream string
			at     time.Time
			want   int
		}{{"stdout", at, 3004}, {"stderr", at.Add(2), 5}, {"stderr", at, 0}, {"stdout", at.Add(9), 0}} {
			if n, err := w.Written(c.stream, c.at); err != nil || n != c.want {
				t.Errorf("%s at %s: %d, %v, want %d (files of %d bytes)", c.stream, c.at, n, err, c.want, maxSize)
			}
		}
	}
}
