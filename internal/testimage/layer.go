package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is how a layer's tar is stored.
type Compression string

// The compressions that registries serve.
const (
	Uncompressed Compression = ""
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
)

// epoch is the time of every file: layers must have the same digest whenever
// they are made.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// File is one entry of a layer. A name that ends in a slash is a directory.
type File struct {
	Name string // relative to the root, without a leading slash
	Mode int64  // permission bits; 0: 0755 for directories, 0644 for files
	Body []byte
	// Symlink and Hardlink are targets; at most one is set.
	Symlink, Hardlink string
	UID, GID          int
	Xattrs            map[string]string
	Device            byte // tar.TypeChar, tar.TypeBlock or tar.TypeFifo; 0: none
	Major, Minor      int64
}

// Layer is a finished layer: its stored blob and both digests.
type Layer struct {
	Blob        []byte
	Compression Compression
	Digest      digest.Digest // of Blob
	DiffID      digest.Digest // of the tar
}

// NewLayer packs files in the given order.
func NewLayer(c Compression, files ...File) (Layer, error) {
	var raw bytes.Buffer
	tw := tar.NewWriter(&raw)
	for _, f := range files {
		if err := tw.WriteHeader(f.header()); err != nil {
			return Layer{}, fmt.Errorf("pack %s: %w", f.Name, err)
		}
		if _, err := tw.Write(f.Body); err != nil {
			return Layer{}, fmt.Errorf("pack %s: %w", f.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return Layer{}, fmt.Errorf("pack layer: %w", err)
	}
	return LayerFromTar(c, raw.Bytes())
}

// LayerFromTar makes a layer of an existing tar.
func LayerFromTar(c Compression, raw []byte) (Layer, error) {
	blob, err := compress(c, raw)
	if err != nil {
		return Layer{}, fmt.Errorf("compress layer: %w", err)
	}
	return Layer{Blob: blob, Compression: c, Digest: digest.FromBytes(blob), DiffID: digest.FromBytes(raw)}, nil
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Name: f.Name, Mode: f.Mode, Size: int64(len(f.Body)), ModTime: epoch,
		Uid: f.UID, Gid: f.GID, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		Devmajor: f.Major, Devminor: f.Minor,
	}
	for k, v := range f.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	switch {
	case f.Symlink != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Symlink
	case f.Hardlink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, f.Hardlink
	case f.Device != 0:
		h.Typeflag = f.Device
	case len(f.Name) > 0 && f.Name[len(f.Name)-1] == '/':
		h.Typeflag = tar.TypeDir
	}
	if f.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeSymlink {
			h.Mode = 0o755
		}
	}
	return h
}

func compress(c Compression, raw []byte) ([]byte, error) {
	var (
		out bytes.Buffer
		w   io.WriteCloser
		err error
	)
	switch c {
	case Uncompressed:
		return raw, nil
	case Gzip:
		w = gzip.NewWriter(&out)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		err = fmt.Errorf("unknown compression %q", c)
	}
	if err != nil {
		return nil, err
	}
	_, err = w.Write(raw)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// descriptor names the layer in the media types of the flavour. Docker's schema
// 2 knows no zstd, and its gzip type also stands for an uncompressed tar.
func (l Layer) descriptor(f Flavour) ocispec.Descriptor {
	d := ocispec.Descriptor{Digest: l.Digest, Size: int64(len(l.Blob))}
	switch {
	case f == Docker && l.Compression == Gzip:
		d.MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	case f == Docker && l.Compression == Uncompressed:
		d.MediaType = "application/vnd.docker.image.rootfs.diff.tar"
	case l.Compression == Gzip:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case l.Compression == Zstd:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	default:
		d.MediaType = ocispec.MediaTypeImageLayer
	}
	return d
}

// tar gives the layer's content uncompressed.
func (l Layer) tar() ([]byte, error) {
	switch l.Compression {
	case Uncompressed:
		return l.Blob, nil
	case Gzip:
		r, err := gzip.NewReader(bytes.NewReader(l.Blob))
		if err != nil {
			return nil, fmt.Errorf("uncompress layer %s: %w", l.Digest, err)
		}
		return io.ReadAll(r)
	default:
		r, err := zstd.NewReader(bytes.NewReader(l.Blob))
		if err != nil {
			return nil, fmt.Errorf("uncompress layer %s: %w", l.Digest, err)
		}
		defer r.Close()
		return io.ReadAll(r)
	}
}
