package jsonfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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
		if err := json.Unmarshal(appendEntry(nil, "stdout", line, nil, time.Unix(1, 2)), &e); err != nil {
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
