package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Layer packs what a container has changed as a layer of an OCI image.
type Layer struct {
	// Root is the upper directory of an overlay, or a changed copy of Below.
	Root  mount.Root
	Below *mount.Root
	// Leave holds paths (clean, absolute) that do not count; what is in such a
	// directory does.
	Leave map[string]bool
}

// Pack writes the layer. It tells whether there is anything in it. All in an
// upper directory is taken for changed: directories that are there only for
// what is in them say nothing new.
func (l Layer) Pack(ctx context.Context, w io.Writer) (found bool, err error) {
	buffered := bufio.NewWriterSize(w, 64<<10)
	p := layering{
		packing: packing{ctx: ctx, tar: tar.NewWriter(buffered), links: map[inode]string{}},
		Layer:   l, unchanged: map[inode][]unchangedLink{},
	}
	lower := -1
	if l.Below != nil {
		lower = l.Below.FD()
	}
	top := &layerDir{handle: l.Root.FD(), lower: lower, at: "/", written: true}
	if err := p.inside(top); err != nil {
		return false, err
	}
	return p.found, errors.Join(p.tar.Close(), buffered.Flush())
}

// layering is one run of a Layer.
type layering struct {
	packing
	Layer
	found     bool
	unchanged map[inode][]unchangedLink // left out so far, with further names
}

type unchangedLink struct {
	dir  *layerDir
	name string
}

// layerDir is a directory on the way. Its header is written with the first
// entry that comes below, unless it has changed itself.
type layerDir struct {
	parent  *layerDir
	handle  int
	lower   int // the same directory in Below; -1: there is none
	at      string
	head    *tar.Header
	written bool
}

// name is what the layer calls an entry of the directory.
func (d *layerDir) name(entry string) string { return below(d.at[1:], entry) }

// inside writes what is in a directory.
func (p *layering) inside(d *layerDir) error {
	names, err := readNames(d.handle, d.at)
	if err != nil {
		return err
	}
	if d.lower >= 0 {
		before, err := readNames(d.lower, d.at)
		if err != nil {
			return err
		}
		for _, n := range before {
			if _, there := slices.BinarySearch(names, n); !there && !p.Leave[path.Join(d.at, n)] {
				if err := p.whiteout(d, n); err != nil {
					return err
				}
			}
		}
	}
	for _, n := range names {
		if err := p.one(d, n); err != nil {
			return err
		}
	}
	return nil
}

// one writes one entry of a directory.
func (p *layering) one(d *layerDir, base string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	at := path.Join(d.at, base)
	h, st, err := openChild(d.handle, base, at)
	if err != nil || h < 0 {
		return err
	}
	defer fd.Close(h)
	lower, same, err := p.compare(d, base, at, h, st)
	if err != nil {
		return err
	}
	defer fd.Close(lower)
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		return p.directory(&layerDir{parent: d, handle: h, lower: lower, at: at, head: dirHead(h, st, at[1:])}, same)
	case p.Leave[at] || kind == unix.S_IFSOCK:
		return nil
	case p.Below == nil && kind == unix.S_IFCHR && st.Rdev == 0:
		return p.whiteout(d, base)
	}
	return p.plain(d, h, st, base, same)
}

func (p *layering) directory(d *layerDir, same bool) error {
	if !same && !p.Leave[d.at] {
		if err := p.reveal(d); err != nil {
			return err
		}
		if p.Below == nil && isOpaque(d.handle) {
			if err := p.whiteout(d, opaqueName); err != nil {
				return err
			}
		}
	}
	return p.inside(d)
}

// reveal writes the headers of a directory and of those above it.
func (p *layering) reveal(d *layerDir) error {
	p.found = true
	if d.written {
		return nil
	}
	d.written = true
	if err := p.reveal(d.parent); err != nil {
		return err
	}
	return p.tar.WriteHeader(d.head)
}

// plain writes what is no directory. What has not changed is written only as
// another name of something that is.
func (p *layering) plain(d *layerDir, h int, st *unix.Stat_t, base string, same bool) error {
	key := inode{st.Dev, st.Ino}
	if _, linked := p.links[key]; same && !linked {
		if st.Nlink > 1 {
			p.unchanged[key] = append(p.unchanged[key], unchangedLink{d, d.name(base)})
		}
		return nil
	}
	if err := p.reveal(d); err != nil {
		return err
	}
	if err := p.leaf(h, st, d.name(base)); err != nil {
		return err
	}
	for _, u := range p.unchanged[key] {
		if err := p.reveal(u.dir); err != nil {
			return err
		}
		head := newHead(st, u.name)
		head.Typeflag, head.Linkname = tar.TypeLink, d.name(base)
		if err := p.tar.WriteHeader(head); err != nil {
			return err
		}
	}
	delete(p.unchanged, key)
	return nil
}

const (
	whiteoutPrefix = ".wh."
	// opaqueName, with the prefix before it, says that nothing below shows.
	opaqueName = ".wh..opq"
)

// whiteout says that an entry is deleted.
func (p *layering) whiteout(d *layerDir, base string) error {
	if err := p.reveal(d); err != nil {
		return err
	}
	return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: d.name(whiteoutPrefix + base), ModTime: time.Unix(0, 0)})
}

func isOpaque(h int) bool {
	var v [1]byte
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(h), "trusted.overlay.opaque", v[:])
	return err == nil && n == 1 && v[0] == 'y'
}
