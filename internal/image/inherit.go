package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inherit gives directories that a layer implied the owner, mode, attributes
// and time that they have in the layers below, topmost first. Without it /tmp
// would lose its mode to a layer that only holds /tmp/file. implied is sorted.
func inherit(ctx context.Context, dir string, implied, below []string) error {
	l := lineage{chain: []ancestor{{target: dir, found: lowerDirs(below), complete: true}}}
	for _, p := range implied {
		l.enter(p)
		a := &l.chain[len(l.chain)-1]
		if a.target == "" {
			continue // removed again, or reached another way
		}
		source, ok, err := l.lower(ctx, len(l.chain)-1, 0)
		if err == nil && ok {
			err = copyAttributes(a.target, source.path)
		}
		if err != nil {
			return fmt.Errorf("inherit attributes of %s: %w", p, err)
		}
	}
	return nil
}

// lineage is the way from the root to one directory, with what is known of each
// directory on it. Neighbours share most of it, so that hardly anything is
// looked at twice.
type lineage struct{ chain []ancestor }

type ancestor struct {
	name     string
	target   string     // in the new layer; "" unless a directory is there, and no link leads to it
	found    []lowerDir // in the layers below, topmost first
	asked    int        // how many of the parent's found have been looked at
	complete bool       // there is no more to find
}

// lowerDir is a directory in a layer below. hidden says that the layer covers
// whatever is below it there.
type lowerDir struct {
	path   string
	hidden bool
}

func lowerDirs(layers []string) []lowerDir {
	all := make([]lowerDir, len(layers))
	for i, l := range layers {
		all[i].path = l
	}
	return all
}

// enter makes the lineage that of the directory p.
func (l *lineage) enter(p string) {
	depth := 1
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if depth < len(l.chain) && l.chain[depth].name == name {
			depth++
			continue
		}
		l.chain = l.chain[:depth]
		a := ancestor{name: name}
		if parent := l.chain[depth-1].target; parent != "" {
			at := parent + "/" + name
			if fi, err := os.Lstat(at); err == nil && fi.IsDir() {
				a.target = at
			}
		}
		l.chain = append(l.chain, a)
		depth++
	}
	l.chain = l.chain[:depth]
}

// lower gives the i-th of the layers' directories at a depth of the lineage;
// false if there are fewer.
func (l *lineage) lower(ctx context.Context, depth, i int) (lowerDir, bool, error) {
	a := &l.chain[depth]
	for len(a.found) <= i && !a.complete {
		if err := ctx.Err(); err != nil {
			return lowerDir{}, false, err
		}
		up, ok, err := l.lower(ctx, depth-1, a.asked)
		if err != nil {
			return lowerDir{}, false, err
		}
		a.asked++
		a.complete = !ok
		if ok {
			a.look(up)
		}
	}
	if i >= len(a.found) {
		return lowerDir{}, false, nil
	}
	return a.found[i], true, nil
}

// look takes in what one layer has there, given the parent in that layer.
func (a *ancestor) look(up lowerDir) {
	at := lowerDir{up.path + "/" + a.name, up.hidden}
	fi, err := os.Lstat(at.path)
	switch {
	case err != nil:
		a.complete = up.hidden
		return
	case !fi.IsDir():
		a.complete = true // it covers whatever is below
		return
	}
	var v [1]byte
	if n, err := unix.Lgetxattr(at.path, "trusted.overlay.opaque", v[:]); err == nil && n == 1 && v[0] == 'y' {
		at.hidden = true
	}
	a.found, a.complete = append(a.found, at), at.hidden
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
