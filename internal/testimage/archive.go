package testimage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Tagged is an image and the names it is stored under.
type Tagged struct {
	Image Image
	Names []string // such as "busybox:latest"
}

// WriteDockerArchive writes the images as `docker save` does: manifest.json,
// one config per image, one tar per layer (uncompressed, as the format has it).
func WriteDockerArchive(w io.Writer, images ...Tagged) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	files := map[string][]byte{}
	var entries []entry
	for _, t := range images {
		name := digest.FromBytes(t.Image.Config).Encoded() + ".json"
		files[name] = t.Image.Config
		e := entry{Config: name, RepoTags: t.Names}
		for _, l := range t.Image.Layers {
			raw, err := l.tar()
			if err != nil {
				return err
			}
			at := l.DiffID.Encoded() + "/layer.tar"
			files[at] = raw
			e.Layers = append(e.Layers, at)
		}
		entries = append(entries, e)
	}
	manifest, err := json.Marshal(entries)
	if err != nil {
		return fmt.Errorf("encode manifest.json: %w", err)
	}
	files["manifest.json"] = manifest
	return writeTar(w, files)
}

// WriteOCIArchive writes the images as a tar of an OCI layout.
func WriteOCIArchive(w io.Writer, images ...Tagged) error {
	files, err := layout(images)
	if err != nil {
		return err
	}
	return writeTar(w, files)
}

// WriteOCILayout writes the images as an OCI layout below dir.
func WriteOCILayout(dir string, images ...Tagged) error {
	files, err := layout(images)
	if err != nil {
		return err
	}
	for name, data := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func layout(images []Tagged) (map[string][]byte, error) {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	files := map[string][]byte{}
	blob := func(d digest.Digest, data []byte) {
		files[path.Join("blobs", d.Algorithm().String(), d.Encoded())] = data
	}
	for _, t := range images {
		for d, data := range t.Image.blobs() {
			blob(d, data)
		}
		desc := t.Image.Descriptor()
		blob(desc.Digest, t.Image.Manifest)
		for _, n := range t.Names {
			named := desc
			// containerd's annotation carries the whole name, the standard one the tag.
			named.Annotations = map[string]string{"io.containerd.image.name": canonical(n), ocispec.AnnotationRefName: tagOf(n)}
			idx.Manifests = append(idx.Manifests, named)
		}
		if len(t.Names) == 0 {
			idx.Manifests = append(idx.Manifests, desc)
		}
	}
	index, err := json.Marshal(idx)
	if err != nil {
		return nil, fmt.Errorf("encode index.json: %w", err)
	}
	files[ocispec.ImageIndexFile] = index
	files[ocispec.ImageLayoutFile] = []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)
	return files, nil
}

// writeTar writes files in the order of their names, so that the same images
// give the same archive.
func writeTar(w io.Writer, files map[string][]byte) error {
	tw := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: epoch, Typeflag: tar.TypeReg}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if _, err := tw.Write(files[name]); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	return tw.Close()
}

// WriteFile writes what fn writes to a new file at path, through a temporary
// name: another process that uses the same cache never sees a part.
func WriteFile(name string, fn func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := errors.Join(fn(f), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}
