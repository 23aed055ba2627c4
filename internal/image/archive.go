package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
)

// Bounds of reading an archive.
const (
	maxInline  = 1 << 20  // bytes of a file that stays in memory until it is needed
	maxInlined = 64 << 20 // bytes of all of them, and of all names
	maxFiles   = 100_000
)

// archiveFile is a file of an archive: in memory, or a blob of the store.
type archiveFile struct {
	desc ocispec.Descriptor // digest and size
	data []byte             // nil: in the store
	head []byte             // the first bytes
}

// archive holds the files of an image archive by their names. Names are only
// keys: nothing is ever written to a path that an archive names.
type archive struct {
	s       *Service
	op      *operation
	files   map[string]archiveFile
	links   map[string]string
	inlined int // bytes of contents in memory
	named   int // bytes of names
}

// readArchive takes in a tar stream.
func (s *Service) readArchive(ctx context.Context, op *operation, r io.Reader) (*archive, error) {
	a := &archive{s: s, op: op, files: map[string]archiveFile{}, links: map[string]string{}}
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return a, a.checkLinks()
		}
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "read image archive: %w", err)
		}
		if n >= maxFiles {
			return nil, errs.New(errs.InvalidArgument, "invalid archive: more than %d files", maxFiles)
		}
		if err := a.take(ctx, h, tr); err != nil {
			return nil, err
		}
	}
}

// inside cleans a name of the archive and refuses those that point out of it.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errs.New(errs.InvalidArgument, "invalid archive: %q is outside of it", name)
	}
	return clean, nil
}

func (a *archive) take(ctx context.Context, h *tar.Header, r io.Reader) error {
	if err := checkNames(h); err != nil {
		return err
	}
	if a.named += len(h.Name) + len(h.Linkname); a.named > maxInlined {
		return errs.New(errs.InvalidArgument, "invalid archive: names of more than %d bytes", maxInlined)
	}
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		// Old archives link layers that are the same.
		a.links[name], err = inside(path.Join(path.Dir(name), h.Linkname))
		return err
	case tar.TypeLink:
		a.links[name], err = inside(h.Linkname)
		return err
	case tar.TypeReg:
	default:
		return nil
	}
	file, err := a.file(ctx, name, h.Size, r)
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	a.files[name] = file
	return nil
}

// promised is the digest that a file of an OCI layout must have, by its name.
func promised(name string) digest.Digest {
	alg, hex, ok := strings.Cut(strings.TrimPrefix(name, "blobs/"), "/")
	if d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex); ok && strings.HasPrefix(name, "blobs/") && d.Validate() == nil {
		return d
	}
	return ""
}

func (a *archive) file(ctx context.Context, name string, size int64, r io.Reader) (archiveFile, error) {
	want := promised(name)
	if size <= maxInline && a.inlined+a.named+int(size) <= maxInlined {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return archiveFile{}, unexpected(err)
		}
		a.inlined += len(data)
		f := archiveFile{desc: describe("", data), data: data, head: data}
		if want != "" {
			f.desc.Digest = want.Algorithm().FromBytes(data)
		}
		return f, mismatch(want, f.desc.Digest)
	}
	if want != "" {
		held, err := a.op.hold(ctx, want)
		if err != nil {
			return archiveFile{}, err
		}
		if held {
			return a.held(ctx, want, size)
		}
	}
	return a.store(ctx, want, size, r)
}

// held gives a file that the store has already. It is the store's content that
// is used, the archive's is not even read.
func (a *archive) held(ctx context.Context, d digest.Digest, size int64) (archiveFile, error) {
	info, err := a.s.Content.Info(ctx, d)
	if err != nil {
		return archiveFile{}, err
	}
	if info.Size != size {
		return archiveFile{}, errs.New(errs.InvalidArgument, "invalid archive: blob of %d bytes has %d", info.Size, size)
	}
	f := archiveFile{desc: ocispec.Descriptor{Digest: d, Size: size}}
	f.head, err = a.s.blobHead(ctx, f.desc)
	return f, err
}

// checkLinks refuses an archive with a blob that is a link to a file of another
// digest. From here on a blob is what its name says.
func (a *archive) checkLinks() error {
	for name := range a.links {
		want := promised(name)
		if f, ok := a.find(name); ok && want != "" && f.desc.Digest != want {
			return fmt.Errorf("load %s: %w", name, mismatch(want, f.desc.Digest))
		}
	}
	return nil
}

// unexpected gives an early end of the archive its kind.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errs.Wrap(errs.InvalidArgument, io.ErrUnexpectedEOF)
	}
	return err
}

func mismatch(want, got digest.Digest) error {
	if want != "" && want != got {
		return errs.New(errs.InvalidArgument, "invalid archive: digest is %s", got)
	}
	return nil
}

// store writes a large file into the content store.
func (a *archive) store(ctx context.Context, want digest.Digest, size int64, r io.Reader) (_ archiveFile, err error) {
	ctx = a.op.leased(ctx)
	ref := a.s.unique("load")
	w, err := content.OpenWriter(ctx, a.s.Content, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{Size: size}))
	if err != nil {
		return archiveFile{}, err
	}
	committed := false
	defer func() {
		if !committed {
			_ = w.Truncate(0) // frees the space even if the database is stuck
			err = errors.Join(err, w.Close(), a.s.abort(ctx, ref))
		}
	}()
	digester := digest.Canonical.Digester()
	if want != "" {
		digester = want.Algorithm().Digester()
	}
	head := &headWriter{}
	n, err := io.CopyBuffer(io.MultiWriter(w, digester.Hash(), head), struct{ io.Reader }{r}, make([]byte, copyBuffer))
	if err != nil {
		return archiveFile{}, unexpected(err)
	}
	if n != size {
		return archiveFile{}, unexpected(io.EOF)
	}
	f := archiveFile{desc: ocispec.Descriptor{Digest: digester.Digest(), Size: size}, head: head.data}
	if err := mismatch(want, f.desc.Digest); err != nil {
		return archiveFile{}, err
	}
	err = w.Commit(ctx, size, f.desc.Digest)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return archiveFile{}, err
	}
	committed = true
	return f, nil
}

// headWriter keeps the first bytes of what passes.
type headWriter struct{ data []byte }

func (h *headWriter) Write(p []byte) (int, error) {
	if room := 16 - len(h.data); room > 0 {
		h.data = append(h.data, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (s *Service) blobHead(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	ra, err := s.Content.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	head := make([]byte, min(16, ra.Size()))
	_, err = io.ReadFull(content.NewReader(ra), head)
	return head, err
}

// find looks a file up, through links.
func (a *archive) find(name string) (archiveFile, bool) {
	name, err := inside(name)
	if err != nil {
		return archiveFile{}, false
	}
	for range 8 { // a chain of links has one step in practice, and may be a circle
		if f, ok := a.files[name]; ok {
			return f, true
		}
		next, ok := a.links[name]
		if !ok {
			break
		}
		name = next
	}
	return archiveFile{}, false
}

// blob finds a file of an OCI layout by its digest, which is that of its
// content: take and checkLinks have seen to that.
func (a *archive) blob(d digest.Digest) (archiveFile, bool) {
	if d.Validate() != nil {
		return archiveFile{}, false
	}
	return a.find("blobs/" + d.Algorithm().String() + "/" + d.Encoded())
}

// document reads a file of at most limit bytes into memory.
func (a *archive) document(ctx context.Context, f archiveFile, limit int64) ([]byte, error) {
	if f.data != nil || f.desc.Size == 0 {
		if int64(len(f.data)) > limit {
			return nil, errs.New(errs.InvalidArgument, "invalid archive: document of %d bytes is too big", len(f.data))
		}
		return f.data, nil
	}
	return a.s.readBlob(ctx, f.desc, limit)
}

// keep makes sure that a file is a blob of the store.
func (a *archive) keep(ctx context.Context, f archiveFile) error {
	if f.data == nil && f.desc.Size > 0 {
		return nil
	}
	if held, err := a.op.hold(ctx, f.desc.Digest); err != nil || held {
		return err
	}
	if f.desc.Size == 0 {
		// The store takes size 0 for unknown, which is right here too.
		_, err := a.store(ctx, f.desc.Digest, 0, bytes.NewReader(nil))
		return err
	}
	return a.s.putBlob(ctx, a.op, f.desc, f.data, nil)
}
