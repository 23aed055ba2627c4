package mount

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzRoot builds a tree of directories, files and links as a hostile image might
// have it, and looks names up in it: whatever is opened or made is inside.
//
// Each line of tree is "d NAME", "f NAME" or "l NAME TARGET".
func FuzzRoot(f *testing.F) {
	f.Add("d a\nl a/up ../..\nl abs /etc\nl loop loop\nl dangling /no/such/../../../x", "a/up/../b", true)
	f.Add("l dev ../../outside\nl proc /proc/self/root", "dev/null", false)
	f.Add("l a b\nl b c/../../../../outside\nd c", "a/x/y", true)
	f.Add("f file\nl d file/..", "d/x", true)
	f.Fuzz(func(t *testing.T, tree, name string, dir bool) {
		outside := t.TempDir()
		inside := filepath.Join(outside, "root")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		grow(inside, tree)
		handle, err := unix.Open(inside, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(handle)
		root := RootAt(handle)
		for what, open := range map[string]func() (int, error){
			"Open":         func() (int, error) { return root.Open(name, unix.O_PATH) },
			"OpenNoLinks":  func() (int, error) { return root.OpenNoLinks(name, unix.O_PATH) },
			"OpenOrCreate": func() (int, error) { return root.OpenOrCreate(name, dir) },
		} {
			h, err := open()
			if err != nil {
				continue // most names lead nowhere
			}
			at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(h))
			if cerr := unix.Close(h); err != nil || cerr != nil {
				t.Fatal(err, cerr)
			}
			if at != inside && !strings.HasPrefix(at, inside+"/") {
				t.Errorf("%s(%q) is %s", what, name, at)
			}
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("made outside: %v, %v", entries, err)
		}
	})
}

// grow makes what can be made of a tree's description, without following a link.
func grow(inside, tree string) {
	for i, line := range strings.Split(tree, "\n") {
		words := strings.SplitN(line, " ", 3)
		if i == 20 || len(words) < 2 {
			continue
		}
		at := inside
		parts := strings.Split(words[1], "/")
		for j, part := range parts {
			if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
				return
			}
			at = filepath.Join(at, part)
			if st, err := os.Lstat(at); j < len(parts)-1 && (err != nil || !st.IsDir()) {
				return
			}
		}
		switch {
		case words[0] == "d":
			_ = os.Mkdir(at, 0o755) // what cannot be made is not in the tree
		case words[0] == "f":
			if file, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil { // exclusive: through no link
				_ = file.Close()
			}
		case words[0] == "l" && len(words) == 3:
			_ = os.Symlink(words[2], at)
		}
	}
}
