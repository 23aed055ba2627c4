package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

func openRoot(t testing.TB, dir string) mount.Root {
	t.Helper()
	h, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fd.Close(h) })
	return mount.RootAt(h)
}

// plant makes files: a name with "/" at its end is a directory, content that
// begins with "->" a link.
func plant(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch to, link := strings.CutPrefix(files[name], "->"); {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		case link:
			err = os.Symlink(to, full)
		default:
			err = os.WriteFile(full, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func pack(t *testing.T, root mount.Root, name string) (string, Stat) {
	t.Helper()
	var b bytes.Buffer
	var st Stat
	if err := (Packer{Root: root}).Path(t.Context(), name, func(s Stat) io.Writer { st = s; return &b }); err != nil {
		t.Fatal(err)
	}
	return list(t, &b), st
}

// list names the entries of an archive with their kinds and link targets.
func list(t *testing.T, r io.Reader) string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return strings.Join(out, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		s := h.Name
		if h.Linkname != "" {
			s += string(h.Typeflag) + h.Linkname
		}
		if data, _ := io.ReadAll(tr); len(data) > 0 {
			s += "=" + string(data)
		}
		out = append(out, s)
	}
}

func TestPackNames(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d/f": "x", "d/s/g": "y", "abs": "->/d", "rel": "->d/f", "out": "->/../../../etc", "d/up": "->../d/f"})
	root := openRoot(t, dir)
	for name, want := range map[string]string{
		"/d":     "d/ d/f=x d/s/ d/s/g=y d/up2../d/f",
		"d/":     "d/ d/f=x d/s/ d/s/g=y d/up2../d/f",
		"/d/.":   "./ ./f=x ./s/ ./s/g=y ./up2../d/f",
		"/d/f":   "f=x",
		"/abs":   "abs2/d",
		"/abs/":  "abs/ abs/f=x abs/s/ abs/s/g=y abs/up2../d/f",
		"/abs/f": "f=x",
		"rel":    "rel2d/f",
		"/":      "/ /abs2/d /d/ /d/f=x /d/s/ /d/s/g=y /d/up2../d/f /out2/../../../etc /rel2d/f",
	} {
		if got, _ := pack(t, root, name); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}
	var b bytes.Buffer
	if err := (Packer{Root: root}).All(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if got := list(t, &b); !strings.HasPrefix(got, "abs2/d d/ d/f=x") {
		t.Error(got)
	}
}

func TestStat(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"d/f": "xyz", "l": "->d", "bad": "->/../../etc/passwd"})
	root := openRoot(t, dir)
	if err := os.Chmod(filepath.Join(dir, "d/f"), 0o640|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Stat{
		"/d/f": {Name: "f", Size: 3, Mode: 0o640 | os.ModeSetuid},
		"/d":   {Name: "d", Mode: os.ModeDir | 0o755},
		"/l":   {Name: "l", Mode: os.ModeSymlink | 0o777, LinkTarget: "d"},
		"/l/":  {Name: "l", Mode: os.ModeDir | 0o755},
		"/l/.": {Name: ".", Mode: os.ModeDir | 0o755},
		"/":    {Name: "/", Mode: os.ModeDir | 0o755},
	} {
		got, err := StatPath(root, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Mtime.IsZero() {
			t.Errorf("%s: no time", name)
		}
		got.Mtime = time.Time{}
		if got.Mode.IsDir() || got.LinkTarget != "" {
			got.Size = 0
		}
		if name == "/" {
			want.Mode = got.Mode
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	for name, kind := range map[string]errs.Kind{"/none": errs.NotFound, "/d/f/x": errs.NotFound, "/d/f/": errs.InvalidArgument, "/bad/": errs.NotFound} {
		if _, err := StatPath(root, name); !errs.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	testenv.Need(t, testenv.Root)
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, map[string]string{"d/f": "content", "d/empty/": "", "d/l": "->/nowhere", "d/big": strings.Repeat("0123456789", 20000)})
	p := func(n string) string { return filepath.Join(from, n) }
	for _, err := range []error{
		os.Link(p("d/f"), p("d/hard")), os.Chown(p("d/f"), 1234, 5678), os.Chmod(p("d/f"), 0o751|os.ModeSetuid),
		unix.Mkfifo(p("d/pipe"), 0o600), unix.Mknod(p("d/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Chtimes(p("d/empty"), time.Now(), time.Unix(1000, 0)), os.Chtimes(p("d"), time.Now(), time.Unix(2000, 0)),
		unix.Setxattr(p("d/big"), capabilityXattr, []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	src, dst := openRoot(t, from), openRoot(t, to)
	if err := (Packer{Root: src}).Path(t.Context(), "/d", func(Stat) io.Writer { return &b }); err != nil {
		t.Fatal(err)
	}
	first := bytes.Clone(b.Bytes())
	if err := (Unpacker{Root: dst}).Into(t.Context(), "/", bytes.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := (Packer{Root: dst}).Path(t.Context(), "/d", func(Stat) io.Writer { return &b }); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, b.Bytes()) {
		t.Errorf("another archive: %s\nfirst %s", list(t, &b), list(t, bytes.NewReader(first)))
	}
}

// build makes an archive.
func build(t testing.TB, heads ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range heads {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "evil"
			h.Size = int64(len(body))
		}
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Nothing that an archive says gets out of the root.
func TestUnpackStaysInside(t *testing.T) {
	for name, heads := range map[string][]tar.Header{
		"dot dot":           {{Name: "../../../x", Typeflag: tar.TypeReg}},
		"absolute":          {{Name: "/x", Typeflag: tar.TypeReg}},
		"through a link":    {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/../../../.."}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"link to the host":  {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE"}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"over a link":       {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE/x"}, {Name: "l", Typeflag: tar.TypeReg}},
		"hard link":         {{Name: "h", Typeflag: tar.TypeLink, Linkname: "OUTSIDE/secret"}, {Name: "h", Typeflag: tar.TypeReg}},
		"hard link up":      {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../../../../../../etc/passwd"}},
		"times of a link":   {{Name: "d/", Typeflag: tar.TypeDir}, {Name: "d", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE"}},
		"directory by link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE"}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0o777}},
	} {
		t.Run(name, func(t *testing.T) {
			outside, dir := t.TempDir(), t.TempDir()
			plant(t, outside, map[string]string{"secret": "secret"})
			plant(t, dir, map[string]string{"in/": ""})
			before, err := os.Stat(outside)
			if err != nil {
				t.Fatal(err)
			}
			for i := range heads {
				heads[i].Linkname = strings.ReplaceAll(heads[i].Linkname, "OUTSIDE", outside)
			}
			_ = Unpacker{Root: openRoot(t, dir)}.Into(t.Context(), "/in", build(t, heads...)) // it may fail
			after, err := os.Stat(outside)
			if err != nil || !after.ModTime().Equal(before.ModTime()) || after.Mode() != before.Mode() {
				t.Errorf("%v became %v, %v", before, after, err)
			}
			if data, err := os.ReadFile(filepath.Join(outside, "secret")); err != nil || string(data) != "secret" {
				t.Errorf("%q %v", data, err)
			}
		})
	}
}

func TestUnpackFollowsTheContainersLinks(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"usr/lib/": "", "lib": "->usr/lib", "abs": "->/usr"})
	root := openRoot(t, dir)
	for _, name := range []string{"lib/a", "abs/lib/b"} {
		if err := (Unpacker{Root: root, KeepKinds: true}).Into(t.Context(), "/", build(t, tar.Header{Name: name, Typeflag: tar.TypeReg})); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"usr/lib/a", "usr/lib/b"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestKeepKinds(t *testing.T) {
	for _, c := range []struct {
		head tar.Header
		err  string
	}{
		{tar.Header{Name: "d", Typeflag: tar.TypeReg}, "cannot overwrite directory"},
		{tar.Header{Name: "f/", Typeflag: tar.TypeDir}, "cannot overwrite non-directory"},
	} {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"d/x": "1", "f": "2"})
		root := openRoot(t, dir)
		err := Unpacker{Root: root, KeepKinds: true}.Into(t.Context(), "/", build(t, c.head))
		if err == nil || !strings.Contains(err.Error(), c.err) || !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s: %v", c.head.Name, err)
		}
		if got := listDir(t, dir); got != "d d/x f" {
			t.Errorf("%s: %s", c.head.Name, got)
		}
		if err := (Unpacker{Root: root}).Into(t.Context(), "/", build(t, c.head)); err != nil {
			t.Error(err)
		}
		if got := listDir(t, dir); got == "d d/x f" && c.head.Name == "d" {
			t.Errorf("%s: %s", c.head.Name, got)
		}
	}
}

func listDir(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if p != dir {
			names = append(names, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(names, " ")
}

func TestUnpackErrors(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"f": "x"})
	root := openRoot(t, dir)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		dir  string
		in   io.Reader
		kind errs.Kind
	}{
		"no directory": {t.Context(), "/none", build(t), errs.NotFound},
		"a file":       {t.Context(), "/f", build(t), errs.InvalidArgument},
		"no archive":   {t.Context(), "/", strings.NewReader(strings.Repeat("garbage ", 200)), errs.InvalidArgument},
		"cut short":    {t.Context(), "/", io.LimitReader(build(t, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: "b", Typeflag: tar.TypeReg}), 514), errs.Internal},
		"cancelled":    {cancelled, "/", build(t, tar.Header{Name: "c", Typeflag: tar.TypeReg}), errs.Internal},
	} {
		if err := (Unpacker{Root: root}).Into(c.ctx, c.dir, c.in); err == nil || errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Through procfs an archive could speak to the kernel with the engine's rights.
func TestUnpackNotIntoTheKernel(t *testing.T) {
	err := Unpacker{Root: openRoot(t, "/")}.Into(t.Context(), "/proc", build(t, tar.Header{Name: "x", Typeflag: tar.TypeReg}))
	if !errs.Is(err, errs.Permission) {
		t.Error(err)
	}
	err = Unpacker{Root: openRoot(t, "/")}.Into(t.Context(), "/", build(t, tar.Header{Name: "proc/sys/kernel/x", Typeflag: tar.TypeReg}))
	if !errs.Is(err, errs.Permission) {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	all, err := io.ReadAll(build(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/.."}, tar.Header{Name: "d/l/x", Typeflag: tar.TypeReg}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpacker{Root: openRoot(t, dir)}.Into(t.Context(), "/", bytes.NewReader(data)) // it may fail
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Errorf("%v %v", entries, err)
		}
	})
}
