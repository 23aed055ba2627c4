package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// loadImage brings an image in under names, by way of an archive.
func loadImage(t testing.TB, s *Service, img testimage.Image, names ...string) {
	t.Helper()
	if err := s.Load(t.Context(), bytes.NewReader(ociArchive(t, img, names...)), nil, true, &recorder{}); err != nil {
		t.Fatal(err)
	}
}

func ociArchive(t testing.TB, img testimage.Image, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := testimage.WriteOCIArchive(&buf, testimage.Tagged{Image: img, Names: names}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func dockerArchive(t testing.TB, img testimage.Image, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := testimage.WriteDockerArchive(&buf, testimage.Tagged{Image: img, Names: names}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layered(t testing.TB, f testimage.Flavour) testimage.Image {
	t.Helper()
	img, err := testimage.Layered(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// squeeze compresses with a program, as users do.
func squeeze(t testing.TB, data []byte, program ...string) []byte {
	t.Helper()
	testenv.Need(t, testenv.Tool(program[0]))
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gzipped(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(data) // a buffer takes all
	_ = w.Close()
	return buf.Bytes()
}

func TestLoadForms(t *testing.T) {
	img := layered(t, testimage.OCI)
	for _, c := range []struct {
		name string
		data func(t *testing.T) []byte
	}{
		{"docker", func(t *testing.T) []byte { return dockerArchive(t, img, "layered:1", "example.org/other:2") }},
		{"oci", func(t *testing.T) []byte { return ociArchive(t, img, "layered:1", "example.org/other:2") }},
		{"gzip", func(t *testing.T) []byte { return gzipped(ociArchive(t, img, "layered:1", "example.org/other:2")) }},
		{"zstd", func(t *testing.T) []byte {
			w, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			return w.EncodeAll(dockerArchive(t, img, "layered:1", "example.org/other:2"), nil)
		}},
		{"bzip2", func(t *testing.T) []byte {
			return squeeze(t, ociArchive(t, img, "layered:1", "example.org/other:2"), "bzip2", "-c")
		}},
		{"xz", func(t *testing.T) []byte {
			return squeeze(t, ociArchive(t, img, "layered:1", "example.org/other:2"), "xz", "-c")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openService(t, Options{})
			r := &recorder{}
			if err := s.Load(t.Context(), bytes.NewReader(c.data(t)), nil, false, r); err != nil {
				t.Fatal(err)
			}
			r.has(t, "Loaded image: layered:1\n")
			r.has(t, "Loaded image: example.org/other:2\n")
			e, err := s.Inspect(t.Context(), "layered:1")
			if err != nil || e.ID != img.ID() || len(e.RootFS.Layers) != len(img.Layers) || len(e.RepoTags) != 2 {
				t.Fatalf("inspect %+v, err %v", e, err)
			}
			root := prepare(t, s, "one", "example.org/other:2")
			if got := readFile(t, root+"/layers/changed"); got != "top\n" {
				t.Errorf("content %q", got)
			}
			if _, err := os.Stat(root + "/layers/gone"); !os.IsNotExist(err) {
				t.Errorf("a removed file is there: %v", err)
			}
		})
	}
}

func TestLoadWithoutName(t *testing.T) {
	s := openService(t, Options{})
	img := layered(t, testimage.Docker)
	r := &recorder{}
	if err := s.Load(t.Context(), bytes.NewReader(dockerArchive(t, img)), nil, true, r); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Loaded image ID: " + img.ID() + "\n"}; !slices.Equal(r.all(), want) {
		t.Errorf("said %q, want %q", r.all(), want)
	}
	list, err := s.List(t.Context(), false, nil)
	if err != nil || len(list) != 1 || len(list[0].RepoTags) != 0 || list[0].RepoTags == nil {
		t.Errorf("list %+v, err %v", list, err)
	}
}

func TestLoadMovesName(t *testing.T) {
	s := openService(t, Options{})
	first, second := bigImage(t, 1000), bigImage(t, 2000)
	loadImage(t, s, first, "x:1")
	r := &recorder{}
	if err := s.Load(t.Context(), bytes.NewReader(ociArchive(t, second, "x:1")), nil, true, r); err != nil {
		t.Fatal(err)
	}
	r.has(t, "The image x:1 already exists, renaming the old one with ID "+first.ID()+" to empty string\n")
	if e, err := s.Inspect(t.Context(), "x:1"); err != nil || e.ID != second.ID() {
		t.Errorf("x:1 is %s, err %v", e.ID, err)
	}
	if e, err := s.Inspect(t.Context(), first.ID()); err != nil || len(e.RepoTags) != 0 {
		t.Errorf("the old image has tags %v, err %v", e.RepoTags, err)
	}
}

// tarOf makes an archive of raw entries.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		body := h.PAXRecords["body"]
		h.PAXRecords = nil
		h.Size = int64(len(body))
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
	return buf.Bytes()
}

func fileEntry(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{"body": body}}
}

func TestLoadRefusals(t *testing.T) {
	img := bigImage(t, 3<<20)
	whole := ociArchive(t, img, "x:1")
	docker := dockerArchive(t, img, "x:1")
	corrupt := slices.Clone(whole)
	at := bytes.Index(corrupt, img.Layers[0].Blob[1<<20:1<<20+64])
	corrupt[at] ^= 1
	small := bigImage(t, 1000)
	corruptSmall := slices.Clone(ociArchive(t, small, "x:1"))
	corruptSmall[bytes.Index(corruptSmall, small.Layers[0].Blob[600:664])] ^= 1
	manifest, err := json.Marshal([]dockerEntry{{Config: "../../etc/passwd", Layers: []string{"/etc/shadow"}}})
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	for _, c := range []struct {
		name, text string
		data       []byte
	}{
		{"empty", "invalid archive: does not contain a manifest.json", nil},
		{"garbage", "invalid tar header", bytes.Repeat([]byte("garbage"), 1000)},
		{"no image", "invalid archive: does not contain a manifest.json", tarOf(t, fileEntry("readme", "hello"))},
		{"truncated in a layer", "unexpected EOF", whole[:2<<20]},
		{"truncated docker archive", "unexpected EOF", docker[:2<<20]},
		{"truncated gzip", "unexpected EOF", gzipped(whole)[:2<<20]},
		{"corrupt large blob", "invalid archive: digest is sha256:", corrupt},
		{"corrupt small blob", "invalid archive: digest is sha256:", corruptSmall},
		{"traversal", "is outside of it", tarOf(t, fileEntry("../../../../../../../.."+outside, "escaped"))},
		{"link traversal", "is outside of it", tarOf(t, tar.Header{Name: "a/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../../../../etc/shadow"})},
		{"names outside", `image config "../../etc/passwd" is missing`, tarOf(t, fileEntry("manifest.json", string(manifest)))},
		{"circular links", `image config "a" is missing`, tarOf(t,
			tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"},
			fileEntry("manifest.json", `[{"Config":"a","Layers":[]}]`))},
		{"missing layer", `layer "gone.tar" is missing`, tarOf(t, fileEntry("c.json", "{}"), fileEntry("manifest.json", `[{"Config":"c.json","Layers":["gone.tar"]}]`))},
		{"layers do not match", "invalid rootfs in image configuration: 0 layers, 1 diff IDs", tarOf(t,
			fileEntry("c.json", `{"rootfs":{"type":"layers","diff_ids":["sha256:`+strings.Repeat("0", 64)+`"]}}`), fileEntry("manifest.json", `[{"Config":"c.json"}]`))},
		{"wrong tag", "invalid archive: invalid reference format", tarOf(t, fileEntry("c.json", `{"rootfs":{"type":"layers"}}`), fileEntry("manifest.json", `[{"Config":"c.json","RepoTags":["A//b"]}]`))},
		{"huge manifest", "is too big", tarOf(t, fileEntry("manifest.json", "["+strings.Repeat(" ", 5<<20)+"]"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openService(t, Options{})
			err := s.Load(t.Context(), bytes.NewReader(c.data), nil, false, &recorder{})
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %q", err, c.text)
			}
			if !errs.Is(err, errs.InvalidArgument) {
				t.Errorf("kind %v", errs.KindOf(err))
			}
			wantEmpty(t, s)
			if _, err := os.Lstat(outside); !os.IsNotExist(err) {
				t.Errorf("a file was written outside: %v", err)
			}
		})
	}
}

// A blob of an archive that is a link to another file is that file's content
// under a foreign digest: what the store knows of the digest must not change.
func TestLoadForeignBlobs(t *testing.T) {
	s := openService(t, Options{})
	real, foreign := layered(t, testimage.OCI), bigImage(t, 1000)
	loadImage(t, s, real, "real:1")
	blob := func(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }
	d := real.Descriptor()
	index, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	files := []tar.Header{
		fileEntry(blob(foreign.Descriptor().Digest), string(foreign.Manifest)), fileEntry(blob(mustDigest(foreign.ID())), string(foreign.Config)),
		fileEntry(blob(foreign.Layers[0].Digest), string(foreign.Layers[0].Blob)), fileEntry("index.json", string(index)),
	}
	for name, link := range map[string][]tar.Header{
		"hard link": {{Name: blob(d.Digest), Typeflag: tar.TypeLink, Linkname: blob(foreign.Descriptor().Digest)}},
		"symlink":   {{Name: blob(d.Digest), Typeflag: tar.TypeSymlink, Linkname: foreign.Descriptor().Digest.Encoded()}},
		"two links": {
			{Name: blob(d.Digest), Typeflag: tar.TypeLink, Linkname: "x"},
			{Name: "x", Typeflag: tar.TypeLink, Linkname: blob(foreign.Descriptor().Digest)},
		},
	} {
		err := s.Load(t.Context(), bytes.NewReader(tarOf(t, append(slices.Clone(files), link...)...)), nil, true, &recorder{})
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "invalid archive: digest is "+foreign.Descriptor().Digest.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	op, err := s.begin(scoped(t.Context()), loading)
	if err != nil {
		t.Fatal(err)
	}
	err = s.putBlob(scoped(t.Context()), op, d, foreign.Manifest, map[string]string{"containerd.io/gc.ref.content.l.0": foreign.ID()})
	if !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("content of another digest: %v", err)
	}
	op.abandon() // collects
	info, err := s.Content.Info(scoped(t.Context()), d.Digest)
	if err != nil || info.Labels["containerd.io/gc.ref.content.l.0"] != real.Layers[0].Digest.String() {
		t.Errorf("the labels of the manifest are %v, err %v", info.Labels, err)
	}
	if err := s.Save(t.Context(), []string{"real:1"}, nil, io.Discard); err != nil {
		t.Errorf("the image is no longer whole: %v", err)
	}
}

// What the store has is taken from there, if it can be what the archive means.
func TestLoadPresentBlobOfAnotherSize(t *testing.T) {
	s := openService(t, Options{})
	img := bigImage(t, 3<<20)
	loadImage(t, s, img, "x:1")
	name := "blobs/sha256/" + img.Layers[0].Digest.Encoded()
	err := s.Load(t.Context(), bytes.NewReader(tarOf(t, fileEntry(name, strings.Repeat("x", 2<<20)))), nil, true, &recorder{})
	if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "has 2097152") {
		t.Errorf("error %v", err)
	}
}

// Names are kept in memory: they are bounded one by one and together.
func TestLoadBoundsNames(t *testing.T) {
	s := openService(t, Options{})
	long := strings.Repeat("n", 1_000_000)
	for _, c := range []struct {
		name, text string
		data       []byte
	}{
		{"name", "name of 1000000 bytes in archive is too long", tarOf(t, fileEntry(long, ""))},
		{"link", "name of 4096 bytes in archive is too long", tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: long[:4096]})},
	} {
		err := s.Load(t.Context(), bytes.NewReader(c.data), nil, true, &recorder{})
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %.200v", c.name, err)
		}
	}
	wantEmpty(t, s)
	a := &archive{s: s, files: map[string]archiveFile{}, links: map[string]string{}}
	h := &tar.Header{Name: long[:2000], Linkname: long[:2000], Typeflag: tar.TypeSymlink}
	for n := 0; ; n++ {
		err := a.take(t.Context(), h, nil)
		if err == nil && n <= maxInlined/4000 {
			continue
		}
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), "invalid archive: names of more than 67108864 bytes") {
			t.Errorf("name %d: %v", n, err)
		}
		return
	}
}

// smallDisk mounts a tmpfs of n bytes.
func smallDisk(t testing.TB, n int) string {
	t.Helper()
	testenv.Need(t, testenv.Root)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func free(t testing.TB, dir string) uint64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bfree * uint64(st.Bsize)
}

// zeros compress well: the blob fits on the disk, the files do not.
func zeros(t testing.TB, n int) testimage.Image {
	t.Helper()
	l, err := testimage.NewLayer(testimage.Gzip, testimage.File{Name: "zeros", Body: make([]byte, n)})
	if err != nil {
		t.Fatal(err)
	}
	img, err := testimage.New(testimage.Spec{Layers: []testimage.Layer{l}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A full disk while blobs are stored or layers unpacked leaves all space free
// and the store usable.
func TestFullDisk(t *testing.T) {
	const disk = 24 << 20
	store, unpack := bigImage(t, 40<<20), zeros(t, 64<<20)
	f := startFake(t)
	f.add("store", "1", store)
	f.add("unpack", "1", unpack)
	for _, c := range []struct {
		name string
		try  func(s *Service) error
	}{
		{"load blob", func(s *Service) error {
			return s.Load(t.Context(), bytes.NewReader(ociArchive(t, store, "x:1")), nil, true, &recorder{})
		}},
		{"load layer", func(s *Service) error {
			return s.Load(t.Context(), bytes.NewReader(ociArchive(t, unpack, "x:1")), nil, true, &recorder{})
		}},
		{"pull blob", func(s *Service) error {
			return s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/store:1"}, &recorder{})
		}},
		{"pull layer", func(s *Service) error {
			return s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/unpack:1"}, &recorder{})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openService(t, Options{Root: filepath.Join(smallDisk(t, disk), "image")})
			within(t, 5e9, "start", func() bool { return s.gc.armed.Load() })
			loadImage(t, s, bigImage(t, 1000), "before:1")
			before := free(t, s.opts.Root)
			err := c.try(s)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left on device") {
				t.Fatalf("error %v", err)
			}
			if after := free(t, s.opts.Root); before > after+1<<20 {
				t.Errorf("%d bytes free before, %d after", before, after)
			}
			if _, err := s.Remove(t.Context(), "before:1", engine.ImageRemove{}); err != nil {
				t.Fatal(err)
			}
			wantEmpty(t, s)
			loadImage(t, s, bigImage(t, 2<<20), "after:1")
		})
	}
}

func TestSaveRoundTrip(t *testing.T) {
	s := openService(t, Options{})
	a, b := layered(t, testimage.OCI), bigImage(t, 3000)
	loadImage(t, s, a, "a:1", "a:2", "b:1")
	loadImage(t, s, b)
	for _, c := range []struct {
		name  string
		names []string
		tags  map[string][]string // by image ID
	}{
		{"one tag", []string{"a:1"}, map[string][]string{a.ID(): {"a:1"}}},
		{"repository", []string{"a"}, map[string][]string{a.ID(): {"a:1", "a:2"}}},
		{"ID", []string{a.ID()}, map[string][]string{a.ID(): {}}},
		{"two images", []string{"b:1", shortID(mustDigest(b.ID()))}, map[string][]string{a.ID(): {"b:1"}, b.ID(): {}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := s.Save(t.Context(), c.names, nil, &buf); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"manifest.json", "index.json", "oci-layout"} {
				if !slices.Contains(tarNames(t, buf.Bytes()), want) {
					t.Errorf("the archive has no %s", want)
				}
			}
			other := openService(t, Options{})
			if err := other.Load(t.Context(), &buf, nil, true, &recorder{}); err != nil {
				t.Fatal(err)
			}
			list, err := other.List(t.Context(), false, nil)
			if err != nil || len(list) != len(c.tags) {
				t.Fatalf("loaded %+v, err %v", list, err)
			}
			for _, sum := range list {
				if want, ok := c.tags[sum.ID]; !ok || !slices.Equal(sum.RepoTags, want) {
					t.Errorf("image %s has tags %v, want %v", sum.ID, sum.RepoTags, want)
				}
			}
		})
	}
	if err := s.Save(t.Context(), []string{"none:1"}, nil, io.Discard); !errs.Is(err, errs.NotFound) || err.Error() != "No such image: none:1" {
		t.Errorf("unknown image: %v", err)
	}
}

func tarNames(t testing.TB, data []byte) []string {
	t.Helper()
	var names []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// Other tools read what Save writes and write what Load reads.
func TestArchivesOfSkopeo(t *testing.T) {
	testenv.Need(t, testenv.Tool("skopeo"))
	s := openService(t, Options{})
	img := layered(t, testimage.Docker)
	loadImage(t, s, img, "layered:1")
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	if err := testimage.WriteFile(saved, func(w io.Writer) error { return s.Save(t.Context(), []string{"layered:1"}, nil, w) }); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"docker-archive:" + dir + "/d.tar:copied:1", "oci-archive:" + dir + "/o.tar:copied:1"} {
		from := "docker-archive:" + saved + ":docker.io/library/layered:1"
		if out, err := exec.Command("skopeo", "--insecure-policy", "copy", from, to).CombinedOutput(); err != nil {
			t.Fatalf("skopeo copy %s %s: %v\n%s", from, to, err, out)
		}
		file := strings.Split(to, ":")[1]
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		other := openService(t, Options{})
		r := &recorder{}
		err = other.Load(t.Context(), f, nil, true, r)
		if cerr := f.Close(); err != nil || cerr != nil {
			t.Fatalf("load %s: %v %v", to, err, cerr)
		}
		r.has(t, "Loaded image: copied:1\n")
		root := prepare(t, other, "one", "copied:1")
		if got := readFile(t, root+"/layers/changed"); got != "top\n" {
			t.Errorf("%s: content %q", to, got)
		}
	}
}
