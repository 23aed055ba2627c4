package jsonfile

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

type entry struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Attrs  map[string]string `json:"attrs"`
	Time   time.Time         `json:"time"`
}

func TestEntriesDecodeToWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := New(path, 0, 1, false, map[string]string{"b": "2", "a": "<1>"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	lines := []string{"hello\n", "no newline", "quote \" slash \\ tab \t\x00\x1b\n", "ünïcode \u2028 日本\n", "bad \xff\xfe utf8\n", ""}
	for _, l := range lines {
		if err := w.Write("stderr", []byte(l), now, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(got) != len(lines) {
		t.Fatalf("got %d entries, want %d", len(got), len(lines))
	}
	for i, l := range lines {
		var e entry
		if err := json.Unmarshal([]byte(got[i]), &e); err != nil {
			t.Fatalf("entry %q: %v", got[i], err)
		}
		want := strings.ToValidUTF8(strings.ReplaceAll(l, "\xff\xfe", "\uFFFD\uFFFD"), "\uFFFD")
		if e.Log != want || e.Stream != "stderr" || !e.Time.Equal(now) || e.Attrs["a"] != "<1>" {
			t.Errorf("entry %d: got %+v, want log %q", i, e, want)
		}
	}
}

func TestRotationKeepsTheNewestFiles(t *testing.T) {
	for _, gz := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "log")
		w, err := New(path, 1000, 3, gz, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := w.Write("stdout", []byte("0123456789\n"), time.Now(), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var names []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
			if info, _ := e.Info(); info.Size() > 1000 {
				t.Errorf("%s has %d bytes, limit 1000", e.Name(), info.Size())
			}
		}
		want := "log log.1 log.2"
		if gz {
			want = "log log.1.gz log.2.gz"
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("files %q, want %q", got, want)
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("plain\n"))
	f.Add([]byte{0xff, 0, '"'})
	f.Fuzz(func(t *testing.T, line []byte) {
		var e entry
		if err := json.Unmarshal(appendEntry(nil, "stdout", line, nil, appendTime(nil, time.Unix(1, 2))), &e); err != nil {
			t.Fatal(err)
		}
		var viaStd string
		std, _ := json.Marshal(string(line))
		_ = json.Unmarshal(std, &viaStd)
		if e.Log != viaStd {
			t.Fatalf("got %q, encoding/json gives %q", e.Log, viaStd)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w, err := New(filepath.Join(b.TempDir(), "log"), 100<<20, 3, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	line := []byte("a line of a typical length, with some words and a number 12345678\n")
	now := time.Now()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := w.Write("stdout", line, now, false); err != nil {
			b.Fatal(err)
		}
	}
}

// readAll decodes the entries of a file.
func readAll(t *testing.T, path string) (logs []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			logs = append(logs, "invalid: "+line)
			continue
		}
		logs = append(logs, e.Log)
	}
	return logs
}

// TestTornLine: the rest of an entry that a crash cut short does not swallow
// the next one.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"log":"half`), 0o640); err != nil {
		t.Fatal(err)
	}
	w, err := New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write("stdout", []byte("whole\n"), time.Now(), false), w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, path); !slices.Equal(got, []string{"invalid: {\"log\":\"half\n", "whole\n"}) {
		t.Errorf("%q", got)
	}
}

func TestAppendReachesTheFileWithFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := New(path, 0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Now()
	for i := range 3 {
		if err := w.Append("stdout", fmt.Appendf(nil, "%d\n", i), now.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := readAll(t, path); len(got) != 0 {
		t.Errorf("before Flush: %q", got)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, path); !slices.Equal(got, []string{"0\n", "1\n", "2\n"}) {
		t.Errorf("after Flush: %q", got)
	}
}

// TestBatchesRotate: a batch is split at the size limit, nothing is lost.
func TestBatchesRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	w, err := New(path, 1000, 1000, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	for i := range n {
		if err := w.Append("stdout", fmt.Appendf(nil, "%d\n", i), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := len(entries) - 1; i >= 0; i-- {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		if info, err := os.Stat(name); err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		got = append(got, readAll(t, name)...)
	}
	if len(got) != n {
		t.Fatalf("%d entries; want %d", len(got), n)
	}
	for i, g := range got {
		if g != fmt.Sprintf("%d\n", i) {
			t.Fatalf("entry %d is %q", i, g)
		}
	}
}

// TestSingleFileStartsAnew: with one file allowed, a new one replaces it, so
// that a reader of the old one still gets its end.
func TestSingleFileStartsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := New(path, 100, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(s string) {
		t.Helper()
		if err := w.Write("stdout", []byte(s), time.Unix(1, 0), false); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	write(strings.Repeat("x", 50) + "\n")
	if got := readAll(t, path); len(got) != 1 || !strings.HasPrefix(got[0], "xx") {
		t.Errorf("%q", got)
	}
	if data, err := io.ReadAll(old); err != nil || !strings.Contains(string(data), "first") {
		t.Errorf("the old file: %q, %v", data, err)
	}
}

// TestRotationFailure: entries go on into the old file until rotation works.
func TestRotationFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	w, err := New(path, 100, 2, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.MkdirAll(path+".1/not empty", 0o700); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 5 {
		if err := w.Write("stdout", []byte("0123456789\n"), time.Unix(1, 0), false); err != nil {
			failed++
		}
	}
	if failed != 1 || len(readAll(t, path)) != 5 {
		t.Errorf("%d failures, entries %q", failed, readAll(t, path))
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	w.retry = time.Time{}
	if err := w.Write("stdout", []byte("new\n"), time.Unix(1, 0), false); err != nil {
		t.Fatal(err)
	}
	if a, b := readAll(t, path+".1"), readAll(t, path); len(a) != 5 || !slices.Equal(b, []string{"new\n"}) {
		t.Errorf("%q, %q", a, b)
	}
}

// TestLeftoversAreCompressed: what a killed writer did not come to.
func TestLeftoversAreCompressed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	for _, name := range []string{path, path + ".1", path + ".3", path + ".gz.tmp"} {
		if err := os.WriteFile(name, []byte("{}\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	w, err := New(path, 100, 5, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(path + "*")
	if want := []string{path, path + ".1.gz", path + ".3.gz"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v; want %v", names, err, want)
	}
}

// TestConcurrentStreams: both streams write at once, through many rotations.
func TestConcurrentStreams(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	w, err := New(path, 5000, 10000, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, stream := range []string{"stdout", "stderr"} {
		wg.Go(func() {
			for i := range 2000 {
				if err := w.Write(stream, []byte("a line\n"), time.Unix(int64(i), 0), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	count := len(readAll(t, path))
	packed, err := filepath.Glob(path + ".*.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range packed {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		count += strings.Count(string(data), "\n")
		if len(z.Extra) != 20 || string(z.Extra[:2]) != ExtraID {
			t.Errorf("%s: extra field %x", name, z.Extra)
		}
		f.Close()
	}
	if count != 4000 {
		t.Errorf("%d entries; want 4000", count)
	}
}

func BenchmarkAppend(b *testing.B) {
	w, err := New(filepath.Join(b.TempDir(), "log"), 100<<20, 3, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	line := []byte("a line of a typical length, with some words and a number 12345678\n")
	now := time.Now()
	b.SetBytes(int64(len(line)))
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			now = time.Now()
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Append("stdout", line, now); err != nil {
			b.Fatal(err)
		}
	}
}
