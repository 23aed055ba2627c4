package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Walk calls fn for everything in root but root itself, directories before what is
// in them, by name. at is the absolute path in root. What is removed meanwhile is
// left out; links are told of, never followed, whatever is swapped for what. Names
// that are longer than PATH_MAX are errs.InvalidArgument.
func Walk(ctx context.Context, root mount.Root, fn func(at string, st *unix.Stat_t) error) error {
	return walk(ctx, root.FD(), "/", fn)
}

func walk(ctx context.Context, dir int, at string, fn func(string, *unix.Stat_t) error) error {
	names, err := readNames(dir, at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := walkOne(ctx, dir, name, path.Join(at, name), fn); err != nil {
			return err
		}
	}
	return nil
}

func walkOne(ctx context.Context, dir int, name, at string, fn func(string, *unix.Stat_t) error) error {
	h, st, err := openChild(dir, name, at)
	if err != nil || h < 0 {
		return err
	}
	defer fd.Close(h)
	if err := fn(at, st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	return walk(ctx, h, at, fn)
}

const (
	// blockSize is the unit of st_blocks, see stat(2).
	blockSize = 512
	// usageNames is how many names of a directory are in memory at a time.
	usageNames = 1000
	// usageDepth is how deep a tree is looked into: each directory on the way is
	// open. It is what PATH_MAX allows for.
	usageDepth = unix.PathMax / 2
)

// Usage gives the bytes that root and all in it take on the disk, files with more
// than one name once. Like Walk it never leaves root. It never fails for what a
// container has made there: what is deeper than any path could name does not count.
func Usage(ctx context.Context, root mount.Root) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(root.FD(), &st); err != nil {
		return 0, fmt.Errorf("look at root: %w", err)
	}
	u := usage{ctx: ctx, seen: map[inode]struct{}{}, size: st.Blocks * blockSize}
	err := u.inside(root.FD(), 0)
	return u.size, err
}

type usage struct {
	ctx  context.Context
	seen map[inode]struct{} // of files with more than one name
	size int64
}

func (u *usage) inside(dir, depth int) error {
	if depth > usageDepth {
		return nil
	}
	h, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // it has been removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	f := os.NewFile(uintptr(h), "directory")
	defer f.Close() //nolint:errcheck // read only
	for {
		names, err := f.Readdirnames(usageNames)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list directory: %w", err)
		}
		for _, name := range names {
			if err := u.one(h, name, depth); err != nil {
				return err
			}
		}
	}
}

func (u *usage) one(dir int, name string, depth int) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	h, st, err := openChild(dir, name, name)
	if err != nil || h < 0 {
		return err
	}
	defer fd.Close(h)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if key := (inode{st.Dev, st.Ino}); !isDir && st.Nlink > 1 {
		if _, twice := u.seen[key]; twice {
			return nil
		}
		u.seen[key] = struct{}{}
	}
	u.size += st.Blocks * blockSize
	if !isDir {
		return nil
	}
	return u.inside(h, depth+1)
}
