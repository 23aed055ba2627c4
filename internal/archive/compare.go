package archive

import (
	"bytes"
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// compare looks at what Below has in the place of an entry. lower is its handle
// if both are directories, or -1.
func (p *layering) compare(d *layerDir, base, at string, h int, st *unix.Stat_t) (lower int, same bool, err error) {
	if d.lower < 0 {
		return -1, false, nil
	}
	lower, was, err := openChild(d.lower, base, at)
	if err != nil || lower < 0 {
		return -1, false, err
	}
	same, err = sameFile(p.ctx, lower, h, was, st)
	if err == nil && was.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return lower, same, nil
	}
	fd.Close(lower)
	return -1, same, err
}

// sameFile tells whether two files are alike, by their metadata. Contents are
// looked at only if both times may have been cut to seconds.
func sameFile(ctx context.Context, a, b int, sa, sb *unix.Stat_t) (bool, error) {
	if sa.Mode != sb.Mode || sa.Uid != sb.Uid || sa.Gid != sb.Gid || sa.Rdev != sb.Rdev || capability(a) != capability(b) {
		return false, nil
	}
	if sa.Mode&unix.S_IFMT == unix.S_IFDIR {
		return true, nil
	}
	if sa.Size != sb.Size || sa.Mtim != sb.Mtim {
		return false, nil
	}
	if sa.Mtim.Nsec != 0 {
		return true, nil
	}
	switch sa.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return sameContent(ctx, a, b)
	case unix.S_IFLNK:
		x, err := readlink(a)
		if err != nil {
			return false, err
		}
		y, err := readlink(b)
		return x == y, err
	}
	return true, nil
}

// sameContent compares the regular files behind two handles.
func sameContent(ctx context.Context, a, b int) (bool, error) {
	x, err := reopen(a)
	if err != nil {
		return false, err
	}
	defer x.Close() //nolint:errcheck // read only
	y, err := reopen(b)
	if err != nil {
		return false, err
	}
	defer y.Close() //nolint:errcheck // read only
	one, other := make([]byte, 64<<10), make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, ended := io.ReadFull(x, one)
		m, _ := io.ReadFull(y, other) // shorter or unreadable, it differs
		if !bytes.Equal(one[:n], other[:m]) {
			return false, nil
		}
		if errors.Is(ended, io.EOF) || errors.Is(ended, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if ended != nil {
			return false, ended
		}
	}
	return false, ctx.Err()
}
