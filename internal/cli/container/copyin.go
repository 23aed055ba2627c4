package container

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
	"strings"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func (o *copyOptions) toContainer(ctx context.Context, s *session.Session, c *client.Client, src, id, dst string) (int64, error) {
	trailing := strings.HasSuffix(dst, "/")
	final, exists, isDir, err := resolveInContainer(ctx, c, id, dst)
	if err != nil {
		return 0, err
	}
	if trailing && !strings.HasSuffix(final, "/") {
		final += "/"
	}
	if src == "-" {
		if !isDir {
			return 0, fmt.Errorf("destination \"%s:%s\" must be a directory", id, dst)
		}
		counted := &countReader{r: s.In}
		err := o.send(ctx, c, id, final, counted)
		return counted.n, err
	}
	if o.followLink {
		if src, err = followLocal(src); err != nil {
			return 0, err
		}
	}
	src, err = absolute(src)
	if err != nil {
		return 0, err
	}
	info, err := os.Lstat(src)
	if err != nil {
		return 0, err
	}
	content := hasContentSuffix(filepath.ToSlash(src))
	abs, err := filepath.Abs(src)
	if err != nil {
		return 0, err
	}
	dir, name, err := copyName(final, exists, isDir, info.IsDir(), content, filepath.Base(abs))
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(src, "/") && !info.IsDir() {
		return 0, fmt.Errorf("%s: not a directory", src)
	}
	pr, pw := io.Pipe()
	packed := make(chan packResult, 1)
	go func() {
		n, err := pack(pw, abs, name)
		pw.CloseWithError(err)
		packed <- packResult{n, err}
	}()
	err = o.send(ctx, c, id, dir, pr)
	pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	res := <-packed
	if res.err != nil && err == nil {
		err = res.err
	}
	return res.n, err
}

type packResult struct {
	n   int64
	err error
}

func (o *copyOptions) send(ctx context.Context, c *client.Client, id, dir string, r io.Reader) error {
	return c.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: dir, Content: r, CopyUIDGID: o.archive})
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// followLocal resolves the last part of a path, keeping what its end says.
func followLocal(p string) (string, error) {
	final, err := filepath.EvalSymlinks(p)
	if err == nil && hasContentSuffix(p) {
		final += "/."
	}
	return final, err
}

// pack writes src as a tar stream in which it is called name; with name "" the
// stream holds src's content.
func pack(w io.Writer, src, name string) (int64, error) {
	tw := tar.NewWriter(w)
	var total int64
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		entry := path.Join(name, filepath.ToSlash(rel))
		if entry == "." || entry == "" {
			return nil // the destination itself
		}
		n, err := packOne(tw, p, entry, d)
		total += n
		return err
	})
	return total, errors.Join(err, tw.Close())
}

func packOne(tw *tar.Writer, p, entry string, d fs.DirEntry) (int64, error) {
	info, err := d.Info()
	if err != nil {
		return 0, err
	}
	if info.Mode()&os.ModeSocket != 0 {
		return 0, nil // a tar archive cannot hold one
	}
	link := ""
	if info.Mode()&os.ModeSymlink != 0 {
		if link, err = os.Readlink(p); err != nil {
			return 0, err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return 0, err
	}
	h.Name = entry
	if info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	f, err := os.Open(p)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(tw, f)
}
