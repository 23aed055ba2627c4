package testimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestImagesAreReproducible(t *testing.T) {
	for name, build := range map[string]func(Flavour) (Image, error){
		"busybox": func(f Flavour) (Image, error) { return Busybox(f, Gzip) },
		"layered": Layered, "app": App, "bare": Bare,
	} {
		for _, f := range []Flavour{OCI, Docker} {
			a, err := build(f)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			b, err := build(f)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if a.Descriptor().Digest != b.Descriptor().Digest {
				t.Errorf("%s flavour %d has two digests", name, f)
			}
		}
	}
}

func TestLayerDigests(t *testing.T) {
	for _, c := range []Compression{Uncompressed, Gzip, Zstd} {
		l, err := NewLayer(c, File{Name: "a/"}, File{Name: "a/b", Body: []byte("x")}, File{Name: "c", Symlink: "a/b"})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := l.tar()
		if err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(raw) != l.DiffID || digest.FromBytes(l.Blob) != l.Digest {
			t.Errorf("%q: digests do not match the content", c)
		}
		var names []string
		for tr := tar.NewReader(bytes.NewReader(raw)); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		if len(names) != 3 || names[0] != "a/" || names[2] != "c" {
			t.Errorf("%q: entries %q", c, names)
		}
	}
}

// TestForeignToolReads has skopeo, which shares no code with this package,
// read what it writes.
func TestForeignToolReads(t *testing.T) {
	testenv.Need(t, testenv.Tool("skopeo"))
	img, err := Layered(OCI)
	if err != nil {
		t.Fatal(err)
	}
	old, err := Layered(Docker)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := WriteOCILayout(filepath.Join(dir, "layout"), Tagged{img, []string{"layered:v1"}}); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(io.Writer, ...Tagged) error{"oci.tar": WriteOCIArchive, "docker.tar": WriteDockerArchive} {
		in := img
		if name == "docker.tar" {
			in = old
		}
		if err := WriteFile(filepath.Join(dir, name), func(w io.Writer) error { return write(w, Tagged{in, []string{"layered:v1"}}) }); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]Image{
		"oci:" + dir + "/layout:v1": img, "oci-archive:" + dir + "/oci.tar:v1": img, "docker-archive:" + dir + "/docker.tar": old,
	} {
		out, err := exec.Command("skopeo", "inspect", "--config", "--raw", ref).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", ref, err, out)
			continue
		}
		if digest.FromBytes(out).String() != want.ID() {
			t.Errorf("%s: config differs from %s", ref, want.ID())
		}
	}
	// A full copy verifies every layer's digest and compression.
	if out, err := exec.Command("skopeo", "copy", "--insecure-policy", "oci:"+dir+"/layout:v1", "dir:"+dir+"/copy").CombinedOutput(); err != nil {
		t.Errorf("copy: %v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "copy", "manifest.json")); err != nil {
		t.Error(err)
	}
}

func TestPlatformsIndex(t *testing.T) {
	images, err := Platforms(OCI)
	if err != nil {
		t.Fatal(err)
	}
	data, err := Index(OCI, images...)
	if err != nil {
		t.Fatal(err)
	}
	var idx ocispec.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		t.Fatal(err)
	}
	if len(idx.Manifests) != 2 || idx.Manifests[1].Platform.Architecture != "s390x" {
		t.Errorf("index %s", data)
	}
}

func TestCanonicalNames(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":                "docker.io/library/busybox:latest",
		"busybox:1":              "docker.io/library/busybox:1",
		"team/app":               "docker.io/team/app:latest",
		"127.0.0.1:5000/app":     "127.0.0.1:5000/app:latest",
		"localhost/app:v2":       "localhost/app:v2",
		"registry.example/a/b:c": "registry.example/a/b:c",
	} {
		if got := canonical(in); got != want {
			t.Errorf("canonical(%q) = %q, want %q", in, got, want)
		}
	}
	if got := tagOf("a.b/c:d"); got != "d" {
		t.Errorf("tagOf gives %q", got)
	}
}
