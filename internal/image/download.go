package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/registry"
)

// copyBuffer is how much of a blob is moved at a time, bytes.
const copyBuffer = 256 << 10

// download makes a layer's blob present. Data of an earlier, interrupted
// download is used; a failed one keeps its data for the next unless it is wrong.
type download struct {
	s        *Service
	op       *operation
	repo     *registry.Repository
	desc     ocispec.Descriptor
	progress *layerProgress
	labels   map[string]string
}

func (d *download) run(ctx context.Context) error {
	unlock, err := d.s.blobs.lock(ctx, d.desc.Digest.String())
	if err != nil {
		return err
	}
	defer unlock()
	if held, err := d.op.hold(ctx, d.desc.Digest); err != nil {
		return err
	} else if held {
		d.progress.message("Download complete")
		return nil
	}
	if !d.s.downloads.TryAcquire(1) {
		d.progress.message("Waiting")
		if err := d.s.downloads.Acquire(ctx, 1); err != nil {
			return err
		}
	}
	defer d.s.downloads.Release(1)
	attempts := d.s.registry.Options().MaxDownloadAttempts
	for attempt := 1; ; attempt++ {
		retry, err := d.once(ctx)
		if err == nil {
			d.progress.message("Download complete")
			return nil
		}
		if !retry || attempt >= attempts || ctx.Err() != nil {
			return d.repo.Explain(err)
		}
		d.s.log.Debug("retry download", "blob", d.desc.Digest, "attempt", attempt, "err", err)
		if err := d.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt, longer each time, and says so.
func (d *download) pause(ctx context.Context, attempt int) error {
	for left := attempt; left > 0; left-- {
		plural := "s"
		if left == 1 {
			plural = ""
		}
		d.progress.message(fmt.Sprintf("Retrying in %d second%s", left, plural))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// once tries to complete the blob. retry tells whether a failure may pass.
func (d *download) once(ctx context.Context) (retry bool, err error) {
	// Without a lease the store keeps an unfinished blob for a day.
	ref := ingestPrefix + d.desc.Digest.String()
	w, err := content.OpenWriter(ctx, d.s.Content, content.WithRef(ref), content.WithDescriptor(plain(d.desc)))
	if errdefs.IsAlreadyExists(err) {
		_, err = d.op.hold(ctx, d.desc.Digest)
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("store layer %s: %w", d.desc.Digest, err)
	}
	offset, err := d.offset(w)
	if err == nil {
		err = d.copy(ctx, w, offset)
	}
	if err != nil {
		return d.broken(ctx, w, offset, err)
	}
	d.progress.message("Verifying Checksum")
	err = w.Commit(d.op.leased(ctx), d.desc.Size, d.desc.Digest, content.WithLabels(d.labels))
	if errdefs.IsAlreadyExists(err) {
		return false, nil
	}
	if errdefs.IsFailedPrecondition(err) {
		err = errors.Join(errs.New(errs.Internal, "filesystem layer verification failed for digest %s", d.desc.Digest), d.s.abort(ctx, ref))
		return offset > 0, err // what was kept may have been wrong: once more from the start
	}
	return false, err
}

// broken ends an attempt that did not get all of the blob, or too much: the
// reader stops at the first byte behind the size that the manifest says, so that
// an answer without end does not fill the disk.
func (d *download) broken(ctx context.Context, w content.Writer, offset int64, err error) (retry bool, _ error) {
	tooMuch := errdefs.IsFailedPrecondition(err)
	if tooMuch {
		err = errs.New(errs.Internal, "filesystem layer verification failed for digest %s: the registry sends more than %d bytes", d.desc.Digest, d.desc.Size)
	}
	wrong := tooMuch || errors.Is(err, syscall.ENOSPC)
	if wrong {
		_ = w.Truncate(0) // frees the space even if the database is stuck
	}
	err = errors.Join(err, w.Close())
	if wrong {
		err = errors.Join(err, d.s.abort(ctx, ingestPrefix+d.desc.Digest.String()))
	}
	return registry.Transient(err) || tooMuch && offset > 0, err
}

// offset is how much of the blob is there; more than all of it is nothing.
func (d *download) offset(w content.Writer) (int64, error) {
	st, err := w.Status()
	if err != nil {
		return 0, err
	}
	if st.Offset > d.desc.Size {
		return 0, w.Truncate(0)
	}
	return st.Offset, nil
}

func (d *download) copy(ctx context.Context, w io.Writer, offset int64) error {
	if offset == d.desc.Size {
		return nil
	}
	blob, err := d.repo.Fetch(ctx, d.desc)
	if err != nil {
		return err
	}
	defer blob.Close()
	if offset > 0 {
		if _, err := blob.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("resume download: %w", err)
		}
	}
	d.progress.bytes("Downloading", offset, d.desc.Size)
	r := &countingReader{r: blob, n: offset, report: func(n int64) { d.progress.bytes("Downloading", n, d.desc.Size) }}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	if offset+n < d.desc.Size {
		return fmt.Errorf("download layer %s: %w", d.desc.Digest, io.ErrUnexpectedEOF)
	}
	return nil
}

// fetchDocument reads a manifest, index or config of at most limit bytes into
// memory and verifies it.
func (s *Service) fetchDocument(ctx context.Context, repo *registry.Repository, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, errs.New(errs.InvalidArgument, "%s of %d bytes is too big", desc.MediaType, desc.Size)
	}
	if data, err := s.readBlob(ctx, desc, limit); err == nil {
		return data, nil // the store has verified it
	}
	attempts := s.registry.Options().MaxDownloadAttempts
	for attempt := 1; ; attempt++ {
		data, err := fetchOnce(ctx, repo, desc)
		if err == nil {
			return data, nil
		}
		if !registry.Transient(err) || attempt >= attempts || ctx.Err() != nil {
			return nil, repo.Explain(err)
		}
	}
}

func fetchOnce(ctx context.Context, repo *registry.Repository, desc ocispec.Descriptor) ([]byte, error) {
	blob, err := repo.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(blob, desc.Size+1)); err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(buf.Bytes()); got != desc.Digest {
		return nil, errs.New(errs.Internal, "manifest verification failed for digest %s", desc.Digest)
	}
	return buf.Bytes(), nil
}
