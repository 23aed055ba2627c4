package atomicfile

import (
	"os"
	"path/filepath"
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
