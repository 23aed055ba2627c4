package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
)

type copyOptions struct{ archive, followLink, quiet bool }

// NewCopy makes the command "cp".
func NewCopy(s *session.Session) *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use:         "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t" + s.Name + " cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Short:       "Copy files between a container and this machine",
		Args:        session.ExactArgs(2),
		Annotations: aliases("container cp", "cp"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), s, args[0], args[1])
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.followLink, "follow-link", "L", false, "Copy what a symbolic link in SRC_PATH points to")
	fs.BoolVarP(&o.archive, "archive", "a", false, "Keep the owners of the files")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "Do not tell what was copied")
	return cmd
}

func (o *copyOptions) run(ctx context.Context, s *session.Session, src, dst string) error {
	if src == "" {
		return errors.New("source can not be empty")
	}
	if dst == "" {
		return errors.New("destination can not be empty")
	}
	srcContainer, srcPath := splitTarget(src)
	dstContainer, dstPath := splitTarget(dst)
	switch {
	case srcContainer == "" && dstContainer == "":
		return errors.New("must specify at least one container source")
	case srcContainer != "" && dstContainer != "":
		return errors.New("copying between containers is not supported")
	case srcPath == "" && srcContainer != "":
		return errors.New("source can not be empty")
	case dstPath == "" && dstContainer != "":
		return errors.New("destination can not be empty")
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	var n int64
	var to string
	if srcContainer != "" {
		n, err = o.fromContainer(ctx, s, c, srcContainer, srcPath, dstPath)
		to = dstPath
	} else {
		n, err = o.toContainer(ctx, s, c, srcPath, dstContainer, dstPath)
		to = dstContainer + ":" + dstPath
	}
	if err != nil {
		return err
	}
	if !o.quiet && to != "-" && s.OutIsTerminal() {
		fmt.Fprintln(s.Err, "Successfully copied", render.Size(n), "to", to)
	}
	return nil
}

// splitTarget splits CONTAINER:PATH. A path that begins with a slash or a dot
// is local even if it has a colon.
func splitTarget(v string) (container, p string) {
	if filepath.IsAbs(v) {
		return "", v
	}
	name, p, ok := strings.Cut(v, ":")
	if !ok || strings.HasPrefix(name, ".") {
		return "", v
	}
	return name, p
}

// copyName decides where a source lands: the directory to unpack in and the
// name that its top entry gets there, "" to unpack the content itself. It is
// the same rule for either direction.
//
//	exists, isDir   what the destination is
//	srcIsDir        what the source is
//	content         the source ends in "/.": only what is in it
func copyName(dst string, exists, isDir, srcIsDir, content bool, srcBase string) (dir, name string, err error) {
	clean := path.Clean(dst)
	switch {
	case exists && isDir && content:
		return clean, "", nil
	case exists && isDir:
		return clean, srcBase, nil
	case exists && srcIsDir:
		return "", "", errors.New("cannot copy directory")
	case !exists && !srcIsDir && strings.HasSuffix(dst, "/"):
		return "", "", errors.New("no such directory")
	}
	return path.Dir(clean), path.Base(clean), nil
}

// hasContentSuffix tells whether a path ends in "/." and so means the content
// of a directory.
func hasContentSuffix(p string) bool { return p == "." || strings.HasSuffix(p, "/.") }

// absolute gives a local path from the root, with a slash or a dot at its end kept.
func absolute(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	switch {
	case hasContentSuffix(filepath.ToSlash(p)):
		return strings.TrimSuffix(abs, "/") + "/.", nil
	case strings.HasSuffix(filepath.ToSlash(p), "/") && abs != "/":
		return abs + "/", nil
	}
	return abs, nil
}

// isLocalDir tells what a local destination is.
func isLocalDir(p string) (exists, isDir bool, err error) {
	info, err := os.Stat(p)
	if errors.Is(err, os.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	return true, info.IsDir(), nil
}

// maxLinks bounds chains of symbolic links in a container.
const maxLinks = 32

// resolveInContainer follows symbolic links and tells what is at the end. The
// path keeps a slash at its end, which says that it must be a directory.
func resolveInContainer(ctx context.Context, c *client.Client, id, p string) (final string, exists, isDir bool, err error) {
	for range maxLinks {
		res, err := c.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: p})
		if err != nil {
			if !errs.Is(err, errs.NotFound) || isMissingPath(err) { // what else is wrong, the copy itself will tell
				return p, false, false, nil
			}
			return "", false, false, err
		}
		if res.Stat.Mode&os.ModeSymlink == 0 {
			return p, true, res.Stat.Mode.IsDir(), nil
		}
		target := res.Stat.LinkTarget
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(path.Clean(p)), target)
		}
		p = target
	}
	return "", false, false, fmt.Errorf("too many symbolic links at %s", p)
}
