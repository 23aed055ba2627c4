package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	tararchive "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/compression"
	"github.com/gantry-run/gantry/internal/errs"
)

// applied is what unpacking one layer gave.
type applied struct {
	diffID  digest.Digest // of all that was decompressed
	size    int64         // of the files, bytes
	implied []string      // directories that the layer did not describe, parents first
}

// applyLayer unpacks a layer's stream into dir, which holds nothing but this
// layer. With overlay, deleted files become overlay's own marks: the layers
// below are not needed and several layers can be unpacked at a time.
func applyLayer(ctx context.Context, dir string, r io.Reader, overlay bool) (applied, error) {
	plain, err := compression.Decompress(r)
	if err != nil {
		return applied{}, err
	}
	digester := digest.Canonical.Digester()
	stream := io.TeeReader(&cancelReader{ctx, plain}, digester.Hash())
	dirs := newDirTracker()
	opts := []tararchive.ApplyOpt{tararchive.WithFilter(dirs.see)}
	if overlay {
		opts = append(opts, tararchive.WithConvertWhiteout(tararchive.OverlayConvertWhiteout))
	}
	size, err := tararchive.Apply(ctx, dir, stream, opts...)
	if err == nil {
		// What follows the end of the archive belongs to the digest too.
		_, err = io.Copy(io.Discard, stream)
	}
	if err = errors.Join(err, plain.Close()); err != nil {
		return applied{}, err
	}
	return applied{diffID: digester.Digest(), size: size, implied: dirs.implied()}, nil
}

// cancelReader ends with its context: a few bytes may unpack to a stream that
// takes hours to read.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// checkNames refuses an archive's entry whose names no system call would take.
// It comes before everything else: a PAX header may give names of a megabyte.
func checkNames(h *tar.Header) error {
	if n := max(len(h.Name), len(h.Linkname)); n >= unix.PathMax {
		return errs.New(errs.InvalidArgument, "name of %d bytes in archive is too long", n)
	}
	return nil
}

// dirTracker finds out which directories a layer needs but does not describe,
// and drops attributes that no layer may set. It knows directories by their
// parents and last names: to look for whole names would cost the square of
// their lengths.
type dirTracker struct {
	dirs  []trackedDir // parents first; the root is 0
	index map[dirKey]int
}

type dirKey struct {
	parent int
	name   string
}

type trackedDir struct {
	path      string
	described bool
}

func newDirTracker() *dirTracker {
	return &dirTracker{dirs: []trackedDir{{path: "/", described: true}}, index: map[dirKey]int{}}
}

// forbiddenXattrs are records of overlayfs and of the kernel that an image
// could use to point the merged tree where it should not.
var forbiddenXattrs = []string{"trusted.", "user.overlay.", "system."}

const xattrRecord = "SCHILY.xattr."

func (d *dirTracker) see(h *tar.Header) (bool, error) {
	if err := checkNames(h); err != nil {
		return false, err
	}
	for key := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if ok && slices.ContainsFunc(forbiddenXattrs, func(p string) bool { return strings.HasPrefix(name, p) }) {
			delete(h.PAXRecords, key)
		}
	}
	name := path.Clean("/" + h.Name)
	parent := 0
	for at := 1; ; {
		n := strings.IndexByte(name[at:], '/')
		if n < 0 {
			break
		}
		parent = d.dir(parent, name[at:at+n], name[:at+n])
		at += n + 1
	}
	if base := path.Base(name); h.Typeflag == tar.TypeDir && base != "/" {
		d.dirs[d.dir(parent, base, name)].described = true
	}
	return true, nil
}

// dir finds or adds a directory.
func (d *dirTracker) dir(parent int, name, whole string) int {
	key := dirKey{parent, name}
	i, ok := d.index[key]
	if !ok {
		i = len(d.dirs)
		d.dirs = append(d.dirs, trackedDir{path: whole})
		d.index[key] = i
	}
	return i
}

func (d *dirTracker) implied() []string {
	var all []string
	for _, t := range d.dirs {
		if !t.described {
			all = append(all, t.path)
		}
	}
	slices.Sort(all) // a parent is a prefix and comes first
	return all
}
