package container

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCopyName(t *testing.T) {
	for _, c := range []struct {
		dst                              string
		exists, isDir, srcIsDir, content bool
		base                             string
		dir, name, err                   string
	}{
		{"/d", true, true, false, false, "f", "/d", "f", ""},
		{"/d", true, true, true, false, "s", "/d", "s", ""},
		{"/d", true, true, true, true, ".", "/d", "", ""},
		{"/d/new", false, false, true, false, "s", "/d", "new", ""},
		{"/d/new", false, false, true, true, ".", "/d", "new", ""},
		{"/d/new", false, false, false, false, "f", "/d", "new", ""},
		{"/d/new/", false, false, false, false, "f", "", "", "no such directory"},
		{"/d/new/", false, false, true, false, "s", "/d", "new", ""},
		{"/d/f", true, false, false, false, "g", "/d", "f", ""},
		{"/d/f", true, false, true, false, "s", "", "", "cannot copy directory"},
		{"rel", false, false, false, false, "f", ".", "rel", ""},
	} {
		dir, name, err := copyName(c.dst, c.exists, c.isDir, c.srcIsDir, c.content, c.base)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil || dir != c.dir || name != c.name {
			t.Errorf("%+v: %q %q %v", c, dir, name, err)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	for in, want := range map[string][2]string{
		"c:/p": {"c", "/p"}, "/abs:x": {"", "/abs:x"}, "./a:b": {"", "./a:b"}, "plain": {"", "plain"}, "c:": {"c", ""}, "-": {"", "-"},
	} {
		if c, p := splitTarget(in); c != want[0] || p != want[1] {
			t.Errorf("%q: %q %q", in, c, p)
		}
	}
}

func TestPackAndUnpack(t *testing.T) {
	src := t.TempDir()
	if err := os.MkdirAll(filepath.Join(src, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "sub", "f"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(src, "sub", "l")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := pack(&b, src, "top"); err != nil || n != 7 {
		t.Fatalf("%d, %v", n, err)
	}
	dst := t.TempDir()
	if n, err := unpack(bytes.NewReader(b.Bytes()), dst, "other"); err != nil || n != 7 {
		t.Fatalf("%d, %v", n, err)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "other", "sub", "l")); err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(dst, "other", "sub")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	into := t.TempDir()
	if _, err := unpack(bytes.NewReader(b.Bytes()), into, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(into, "sub", "f")); err != nil {
		t.Error(err)
	}
}

func TestUnpackContent(t *testing.T) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./f", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "./sub/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./sub/g", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "new"} {
		dst := t.TempDir()
		if _, err := unpack(bytes.NewReader(b.Bytes()), dst, name); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"f", "sub/g"} {
			if _, err := os.Stat(filepath.Join(dst, name, f)); err != nil {
				t.Errorf("name %q: %v", name, err)
			}
		}
	}
}

// A container's archive may lie about names and links: nothing may be written
// outside the destination.
func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	for name, headers := range map[string][]tar.Header{
		"dotdot":       {{Name: "top/../../../../evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"symlink":      {{Name: "top/l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "top/l/evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"hardlink":     {{Name: "top/h", Typeflag: tar.TypeLink, Linkname: "top/../../../../../../etc/passwd"}},
		"link as file": {{Name: "top/l", Typeflag: tar.TypeSymlink, Linkname: filepath.Join(outside, "evil")}, {Name: "top/l", Typeflag: tar.TypeReg, Mode: 0o644}},
	} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, h := range headers {
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := unpack(&b, dst, "n")
		if entries, _ := os.ReadDir(outside); len(entries) != 0 {
			t.Errorf("%s: wrote outside (%v)", name, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dst)); len(entries) != 1 {
			t.Errorf("%s: wrote beside the destination (%v)", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	_ = tw.WriteHeader(&tar.Header{Name: "top/", Typeflag: tar.TypeDir, Mode: 0o755})
	_ = tw.WriteHeader(&tar.Header{Name: "top/../x", Typeflag: tar.TypeSymlink, Linkname: "/"})
	_ = tw.Close()
	f.Add(b.Bytes(), "name")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if strings.ContainsAny(name, "/\x00") || name == ".." {
			t.Skip() // the caller gives a base name
		}
		parent := t.TempDir()
		dst := filepath.Join(parent, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(bytes.NewReader(data), dst, name) // it may fail, not escape
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Errorf("wrote beside the destination: %v", entries)
		}
	})
}
