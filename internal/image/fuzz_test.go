package image

import (
	"bytes"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/testimage"

	"github.com/gantry-run/gantry/internal/compression"
)

// Whatever bytes come as manifest and config: no panic, and what is accepted
// holds together.
func FuzzDocuments(f *testing.F) {
	img, err := testimage.Bare(testimage.Docker)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(img.Manifest, img.Config)
	f.Add([]byte(`{"layers":[{"digest":"sha256:0","size":-1}]}`), []byte(`{"rootfs":{"diff_ids":[""]}}`))
	f.Add([]byte(`null`), []byte(`null`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		m, err := parseManifest(manifest, "")
		if err != nil {
			return
		}
		b, err := parseBody(ocispec.Descriptor{Digest: digest.FromBytes(manifest)}, m, config)
		if err != nil {
			return
		}
		if len(b.layers) != len(m.Layers) || b.id.Validate() != nil {
			t.Errorf("accepted %d layers of %d, ID %q", len(b.layers), len(m.Layers), b.id)
		}
		for _, l := range b.layers {
			if l.chainID.Validate() != nil || l.diffID.Validate() != nil || l.blob.Digest.Validate() != nil || len(l.blob.URLs) > 0 {
				t.Errorf("accepted layer %+v", l)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	images, err := testimage.Platforms(testimage.OCI)
	if err != nil {
		f.Fatal(err)
	}
	index, err := testimage.Index(testimage.OCI, images...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	f.Add([]byte(`{"manifests":[{"digest":"x"},{"platform":{"os":"\u0000"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		idx, err := parseIndex(data)
		if err != nil {
			return
		}
		if d, err := choose(idx, nil); err == nil && d.Digest.Validate() != nil {
			t.Errorf("chose %+v", d)
		}
		for _, d := range suited(idx.Manifests, nil) {
			if d.Digest.Validate() != nil {
				t.Errorf("took %+v", d)
			}
			annotatedName(d)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c", "x@sha256:00", "sha256:abc", "UPPER", "..", "localhost:5000/x", "", "image@sha256:0"} {
		f.Add(s)
	}
	x := &index{byID: map[digest.Digest]*entry{}, byName: map[string]record{}, byTarget: map[digest.Digest]*entry{}}
	f.Fuzz(func(t *testing.T, s string) {
		if e, _, err := x.find(s); err == nil {
			t.Errorf("%q is %v", s, e)
		}
		if n, err := parseTarget(s); err == nil {
			again, err := parseTarget(n.String())
			if err != nil || again.String() != n.String() {
				t.Errorf("%q became %q, then %v, %v", s, n, again, err)
			}
		}
		_, _ = parseName(s) // must not panic
		_ = notFound(s)
	})
}

// Archives: no panic, no file outside, nothing left of one that is refused.
func FuzzArchive(f *testing.F) {
	img, err := testimage.Bare(testimage.OCI)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ociArchive(f, img, "x:1"))
	f.Add(dockerArchive(f, img, "x:1"))
	f.Add(gzipped(dockerArchive(f, img)))
	s := openService(f, Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := compression.Decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer plain.Close()
		ctx := scoped(t.Context())
		op, err := s.begin(ctx, loading)
		if err != nil {
			t.Fatal(err)
		}
		defer op.abandon()
		a, err := s.readArchive(ctx, op, io.LimitReader(plain, 64<<20))
		if err != nil {
			return
		}
		if all, err := a.images(ctx, nil); err == nil && len(all) == 0 {
			t.Error("no image and no error")
		}
	})
}

// Layers stay inside of their directory.
func FuzzLayer(f *testing.F) {
	for _, c := range []testimage.Compression{testimage.Uncompressed, testimage.Gzip, testimage.Zstd} {
		l, err := testimage.NewLayer(c, testimage.File{Name: "d/", Mode: 0o700}, testimage.File{Name: "d/.wh.x"},
			testimage.File{Name: "l", Symlink: "/etc"}, testimage.File{Name: "l/x", Body: []byte("x")}, testimage.File{Name: "h", Hardlink: "d/.wh.x"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(l.Blob)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := applyLayer(t.Context(), t.TempDir(), bytes.NewReader(data), true)
		if err == nil && got.diffID.Validate() != nil {
			t.Errorf("diff ID %q", got.diffID)
		}
	})
}
