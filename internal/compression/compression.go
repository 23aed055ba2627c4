// Package compression reads compressed streams of foreign origin with bounded
// memory and without helper programs.
package compression

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"github.com/gantry-run/gantry/internal/errs"
)

// Memory limits of decompressors, bytes: streams that want a larger window are
// refused. zstd's own command line has the same default; xz -9 uses 64 MiB.
const (
	maxZstdWindow = 128 << 20
	maxXZDict     = 64 << 20
)

// Magic numbers of the compressed formats.
var (
	gzipMagic = []byte{0x1f, 0x8b, 0x08}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	xzMagic   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	bzipMagic = []byte("BZh")
)

// Format is how a stream is compressed.
type Format int

// The formats that are recognised.
const (
	Plain Format = iota
	Gzip
	Zstd
	XZ
	Bzip2
)

// DetectSize is how many bytes Detect looks at.
const DetectSize = 8

// Detect tells the format by a stream's first bytes.
func Detect(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return Gzip
	case bytes.HasPrefix(head, zstdMagic), isSkippable(head):
		return Zstd
	case bytes.HasPrefix(head, xzMagic):
		return XZ
	case bytes.HasPrefix(head, bzipMagic):
		return Bzip2
	}
	return Plain
}

// Decompress gives the plain stream of r, whatever its compression. All is
// done in this process: a helper program that an attacker could replace, or a
// bug of which would run as root, is never started.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(DetectSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch Detect(head) {
	case Gzip:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "read gzip stream: %w", err)
		}
		return z, nil
	case Zstd:
		// One decoder goroutine: layers are unpacked side by side already.
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "read zstd stream: %w", err)
		}
		return z.IOReadCloser(), nil
	case XZ:
		z, err := xz.NewReader(br, maxXZDict)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "read xz stream: %w", err)
		}
		return io.NopCloser(z), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(br)), nil
	}
	return io.NopCloser(br), nil
}

// isSkippable tells whether a zstd stream starts with a skippable frame
// (RFC 8878, 3.1.2), as zstd:chunked layers may.
func isSkippable(head []byte) bool {
	return len(head) >= 8 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}
