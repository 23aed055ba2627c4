package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

// Names that no system call takes are refused before anything is done with
// them: walking the parents of a megabyte of "a/a/a/…" would take minutes.
func TestUnpackLongNames(t *testing.T) {
	deep := strings.Repeat("a/", 500_000) + "f"
	for name, h := range map[string]tar.Header{
		"name":          {Name: deep, Typeflag: tar.TypeReg},
		"symlink":       {Name: "l", Linkname: deep, Typeflag: tar.TypeSymlink},
		"hard link":     {Name: "l", Linkname: strings.Repeat("a", 4096), Typeflag: tar.TypeLink},
		"just too long": {Name: strings.Repeat("a/", 2047) + "bc", Typeflag: tar.TypeReg},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := applyLayer(t.Context(), dir, bytes.NewReader(tarOf(t, h)), true)
			if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "bytes in archive is too long") {
				t.Errorf("error %.200v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v was unpacked, err %v", left, err)
			}
		})
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var wrong error
	if _, wrong = applyLayer(ctx, t.TempDir(), bytes.NewReader(tarOf(t)), true); !errors.Is(wrong, context.Canceled) {
		t.Errorf("unpack: %v", wrong)
	}
	layer, below := t.TempDir(), t.TempDir()
	if err := os.Mkdir(layer+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if wrong = inherit(ctx, layer, []string{"/d"}, []string{below}); !errors.Is(wrong, context.Canceled) {
		t.Errorf("inherit: %v", wrong)
	}
}

func TestImpliedDirectories(t *testing.T) {
	d := newDirTracker()
	for _, h := range []tar.Header{
		{Name: "a/b/c/file"}, {Name: "a/b", Typeflag: tar.TypeDir}, {Name: "/x/y/", Typeflag: tar.TypeDir},
		{Name: "top"}, {Name: "./a/b/d/../e/f"}, {Name: ".", Typeflag: tar.TypeDir}, {Name: "x-/z"},
	} {
		if _, err := d.see(&h); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := d.implied(), []string{"/a", "/a/b/c", "/a/b/e", "/x", "/x-"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each directory inherits from the topmost layer that shows it, through links
// in neither tree, whatever the order in which neighbours come.
func TestInherit(t *testing.T) {
	root := t.TempDir()
	mk := func(layer, path string, mode os.FileMode) {
		at := filepath.Join(root, layer, path)
		if err := errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"a/b/c", "a-/b", "a/x", "real", "f/g"} {
		mk("new", p, 0o755)
	}
	mk("1", "a", 0o711)
	mk("0", "a/b/c", 0o700)
	mk("0", "a/b", 0o705)
	mk("0", "a", 0o750)
	mk("0", "a-/b", 0o701)
	mk("0", "f/g", 0o700)
	mk("0", "real", 0o700)
	for _, err := range []error{
		os.WriteFile(root+"/1/f", nil, 0o644), // covers the directory below
		os.Symlink("real", root+"/new/link"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mk("0", "link", 0o707)
	below := []string{root + "/1", root + "/0"}
	err := inherit(t.Context(), root+"/new", []string{"/a", "/a-", "/a-/b", "/a/b", "/a/b/c", "/a/x", "/f", "/f/g", "/gone", "/link", "/link/sub"}, below)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range []string{"a", "a-", "a-/b", "a/b", "a/b/c", "a/x", "f", "f/g", "real"} {
		fi, err := os.Lstat(filepath.Join(root, "new", p))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o", p, fi.Mode().Perm()))
	}
	want := "a 711, a- 755, a-/b 701, a/b 705, a/b/c 700, a/x 755, f 755, f/g 755, real 755"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s\nwant %s", strings.Join(got, ", "), want)
	}
}

// Deep directories, in an image with layers below.
func TestUnpackDeepDirectories(t *testing.T) {
	deep := strings.Repeat("d/", 400) + "file"
	img := build(t, []testimage.File{{Name: deep, Body: []byte("x")}}, []testimage.File{{Name: deep, Body: []byte("y")}})
	s := openService(t, Options{})
	loadImage(t, s, img, "x:1")
	at := prepare(t, s, "c", "x:1")
	if got := readFile(t, at+"/"+deep); got != "y" {
		t.Errorf("content %q", got)
	}
}
