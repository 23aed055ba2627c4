package container

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
)

// isMissingPath tells a missing path from a missing container, which the
// answer to HEAD cannot say in words.
func isMissingPath(err error) bool {
	return errs.Is(err, errs.NotFound) && !strings.Contains(err.Error(), "No such container")
}

func isThere(dir string) bool {
	_, err := os.Stat(dir)
	return !errors.Is(err, os.ErrNotExist)
}

func (o *copyOptions) fromContainer(ctx context.Context, s *session.Session, c *client.Client, id, src, dst string) (int64, error) {
	if dst != "-" {
		var err error
		if dst, err = absolute(dst); err != nil {
			return 0, err
		}
		if dir := filepath.Dir(filepath.Clean(dst)); !isThere(dir) {
			return 0, fmt.Errorf("invalid output path: directory %q does not exist", dir)
		}
	}
	if o.followLink {
		final, _, _, err := resolveInContainer(ctx, c, id, src)
		if err != nil {
			return 0, err
		}
		src = final // if it is missing, the daemon says so
	}
	res, err := c.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: src})
	if err != nil {
		return 0, err
	}
	defer res.Content.Close()
	if dst == "-" {
		if s.OutIsTerminal() {
			return 0, errors.New("cowardly refusing to copy to a terminal. Use a file or redirect")
		}
		return io.Copy(s.Out, res.Content)
	}
	exists, isDir, err := isLocalDir(dst)
	if err != nil {
		return 0, err
	}
	base := path.Base(path.Clean(src))
	if link := res.Stat.Name; link != "" && !hasContentSuffix(src) {
		base = link
	}
	dir, name, err := copyName(filepath.ToSlash(dst), exists, isDir, res.Stat.Mode.IsDir(), hasContentSuffix(src), base)
	if err != nil {
		return 0, err
	}
	return unpack(res.Content, dir, name)
}

// unpack extracts a tar stream whose entries lie below the first one. That one
// becomes name in dir; with name "" its content goes into dir itself.
// Nothing is written outside dir, whatever links the archive has.
func unpack(r io.Reader, dir, name string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	u := unpacker{root: root}
	top, first := "", true
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.bytes, u.finish()
		}
		if err != nil {
			return u.bytes, fmt.Errorf("read archive: %w", err)
		}
		if first {
			top, first = strings.Trim(path.Clean("/"+h.Name), "/"), false
		}
		target := rebase(h.Name, top, name)
		if h.Typeflag == tar.TypeLink {
			h.Linkname = rebase(h.Linkname, top, name)
		}
		if err := u.entry(h, target, tr); err != nil {
			return u.bytes, err
		}
	}
}

// rebase puts an entry below name instead of below the archive's top entry. An
// archive of a directory's content has no top entry but ".".
func rebase(entry, top, name string) string {
	rest := strings.Trim(path.Clean("/"+entry), "/")
	if top != "" {
		_, rest, _ = strings.Cut(rest, "/")
	}
	return cmp.Or(path.Join(name, rest), ".")
}

type unpacker struct {
	root  *os.Root
	bytes int64
	dirs  []*tar.Header // their times are set last, as files in them change these
}

func (u *unpacker) entry(h *tar.Header, target string, r io.Reader) error {
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.MkdirAll(target, 0o755); err != nil {
			return err
		}
		h.Name = target
		u.dirs = append(u.dirs, h)
		return nil
	case tar.TypeReg:
		if err := u.file(target, mode, r); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := u.replace(target); err != nil {
			return err
		}
		return u.root.Symlink(h.Linkname, target)
	case tar.TypeLink:
		if err := u.replace(target); err != nil {
			return err
		}
		return u.root.Link(h.Linkname, target)
	default:
		return nil // devices and pipes have no meaning outside the container
	}
	return u.root.Chtimes(target, h.AccessTime, h.ModTime)
}

func (u *unpacker) file(target string, mode os.FileMode, r io.Reader) error {
	if info, err := u.root.Lstat(target); err == nil && info.Mode()&os.ModeSymlink != 0 {
		if err := u.root.Remove(target); err != nil {
			return err
		}
	}
	f, err := u.root.OpenFile(target, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode.Perm()|0o200)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	u.bytes += n
	if err == nil {
		err = f.Chmod(mode.Perm() | mode&(os.ModeSetuid|os.ModeSetgid|os.ModeSticky))
	}
	return errors.Join(err, f.Close())
}

func (u *unpacker) replace(target string) error {
	err := u.root.Remove(target)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		h := u.dirs[i]
		if h.Name == "." {
			continue // the user's own directory stays as it is
		}
		if err := u.root.Chmod(h.Name, h.FileInfo().Mode().Perm()); err != nil {
			return err
		}
		if err := u.root.Chtimes(h.Name, h.AccessTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
