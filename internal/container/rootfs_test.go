package container

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/engine"
)

// TestChangesStayInside: a container that swaps directories for links while its
// changes are listed leads the daemon nowhere.
func TestChangesStayInside(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"lower", "upper/d/sub", "upper/links", "outside/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(dir, "upper/d/sub", strconv.Itoa(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside, swapped, link := filepath.Join(dir, "outside"), filepath.Join(dir, "upper/d"), filepath.Join(dir, "upper/links/d")
	for _, secret := range []string{"secret", "sub/secret"} {
		if err := os.WriteFile(filepath.Join(outside, secret), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	s, _ := newService(t, &fakeSupervisor{}, func(*record) {})
	s.Images = &fakeRootfs{mounts: []engine.RootfsMount{{Type: "overlay", Options: []string{"upperdir=" + dir + "/upper", "lowerdir=" + dir + "/lower"}}}}
	ctx, cancel := context.WithCancel(t.Context())
	var swaps sync.WaitGroup
	defer swaps.Wait()
	defer cancel()
	swaps.Go(func() {
		for ctx.Err() == nil {
			if err := unix.Renameat2(unix.AT_FDCWD, swapped, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2000 {
		changes, err := s.Changes(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if strings.Contains(c.Path, "secret") {
				t.Fatalf("%s is outside of the container", c.Path)
			}
		}
	}
}
