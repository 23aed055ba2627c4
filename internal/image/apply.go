package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	tararchive "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/compression"
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
	stream := io.TeeReader(plain, digester.Hash())
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

// dirTracker finds out which directories a layer needs but does not describe,
// and drops attributes that no layer may set.
type dirTracker struct {
	described map[string]bool
	needed    map[string]bool
}

func newDirTracker() *dirTracker {
	return &dirTracker{described: map[string]bool{}, needed: map[string]bool{}}
}

// forbiddenXattrs are records of overlayfs and of the kernel that an image
// could use to point the merged tree where it should not.
var forbiddenXattrs = []string{"trusted.", "user.overlay.", "system."}

const xattrRecord = "SCHILY.xattr."

func (d *dirTracker) see(h *tar.Header) (bool, error) {
	for key := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if ok && slices.ContainsFunc(forbiddenXattrs, func(p string) bool { return strings.HasPrefix(name, p) }) {
			delete(h.PAXRecords, key)
		}
	}
	name := path.Clean("/" + h.Name)
	if h.Typeflag == tar.TypeDir {
		d.described[name] = true
	}
	for p := path.Dir(name); p != "/" && !d.needed[p]; p = path.Dir(p) {
		d.needed[p] = true
	}
	return true, nil
}

func (d *dirTracker) implied() []string {
	var all []string
	for p := range d.needed {
		if !d.described[p] {
			all = append(all, p)
		}
	}
	slices.Sort(all) // a parent is a prefix and comes first
	return all
}

// inherit gives directories that a layer implied the owner, mode, attributes
// and time that they have in the layers below, topmost first. Without it /tmp
// would lose its mode to a layer that only holds /tmp/file.
func inherit(dir string, implied, below []string) error {
	for _, p := range implied {
		target := filepath.Join(dir, p)
		if fi, err := os.Lstat(target); err != nil || !fi.IsDir() || throughLink(dir, p) {
			continue // removed again, or reached another way
		}
		if err := inheritOne(target, p, below); err != nil {
			return fmt.Errorf("inherit attributes of %s: %w", p, err)
		}
	}
	return nil
}

// throughLink tells whether a part of p is a symbolic link below root.
func throughLink(root, p string) bool {
	at := root
	for _, part := range strings.Split(strings.Trim(p, "/"), "/") {
		at = filepath.Join(at, part)
		if fi, err := os.Lstat(at); err != nil || fi.Mode()&fs.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

func inheritOne(target, p string, below []string) error {
	for _, lower := range below {
		source, hidden := lookup(lower, p)
		if source != "" {
			return copyAttributes(target, source)
		}
		if hidden {
			return nil
		}
	}
	return nil
}

// lookup finds the directory p in one layer. hidden says that the layer covers
// whatever is below it: by another kind of file or an opaque directory.
func lookup(lower, p string) (source string, hidden bool) {
	at := lower
	for _, part := range strings.Split(strings.Trim(p, "/"), "/") {
		at = filepath.Join(at, part)
		fi, err := os.Lstat(at)
		if err != nil {
			return "", hidden
		}
		if !fi.IsDir() {
			return "", true
		}
		var v [1]byte
		if n, err := unix.Lgetxattr(at, "trusted.overlay.opaque", v[:]); err == nil && n == 1 && v[0] == 'y' {
			hidden = true
		}
	}
	return at, hidden
}

func copyAttributes(target, source string) error {
	fi, err := os.Lstat(source)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no stat information")
	}
	if err := os.Lchown(target, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(target, fi.Mode()); err != nil {
		return err
	}
	if err := copyXattrs(target, source); err != nil {
		return err
	}
	times := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies what an image may set; overlay's own marks stay behind.
func copyXattrs(target, source string) error {
	list := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Llistxattr(source, list)
	if errors.Is(err, unix.ENOTSUP) || n <= 0 && err == nil {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if slices.ContainsFunc(forbiddenXattrs, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(source, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(target, name, value[:n], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}
