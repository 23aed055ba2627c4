package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRootsAreClosed(t *testing.T) {
	for _, before := range []os.FileMode{0, 0o755, 0o777, 0o750, 0o700} {
		dir := t.TempDir()
		data, exec := filepath.Join(dir, "data"), filepath.Join(dir, "exec")
		if before != 0 {
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(data, before); err != nil {
				t.Fatal(err)
			}
		}
		if err := makeRoots(data, exec); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got&0o027 != 0 || got&0o700 != 0o700 {
			t.Errorf("a data root of mode %o has %o afterwards", before, got)
		}
		if _, err := os.Stat(exec); err != nil {
			t.Error(err)
		}
	}
}
