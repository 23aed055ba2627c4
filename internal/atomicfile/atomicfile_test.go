package atomicfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	long := strings.Repeat("x", 3*page)
	for _, text := range []string{"some text", "less", "a little more than before", long, "short again", "", "x"} {
		if err := Overwrite(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || strings.TrimRight(string(got), " ") != text {
			t.Errorf("got %.40q, %v, want %.40q", got, err, text)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if err := Overwrite(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Error("a file is no directory")
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	Sweep(filepath.Join(dir, "missing"))
	for _, name := range []string{"file", ".tmp-file-1", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".tmp-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	Sweep(dir)
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	want := []string{filepath.Join(dir, ".hidden"), filepath.Join(dir, ".tmp-dir"), filepath.Join(dir, "file")}
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("left %q, %v, want %q", left, err, want)
	}
}
