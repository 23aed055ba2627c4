package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// copyHolder is who holds a volume's mount while an image's content is copied.
const copyHolder = "copy-up"

// CopyUp implements engine.VolumeMounts: it copies the directory that the image
// has at path, with its own ownership, mode, times and extended attributes, into
// the volume at volumePath. If there is no such directory, or the volume is not
// empty after all, it does nothing. A copy that fails or whose daemon is killed
// leaves an empty volume.
func (s *Service) CopyUp(ctx context.Context, rootfd int, path, volumePath string) error {
	name := filepath.Base(filepath.Dir(volumePath))
	v, err := s.find(name)
	if err != nil {
		return err
	}
	if v.data() != volumePath {
		return errs.New(errs.InvalidArgument, "copy image content into volume %q: %s is not its path", name, volumePath)
	}
	if v.needsMount() {
		if _, err := s.Mount(ctx, name, copyHolder); err != nil {
			return err
		}
		defer func() {
			if err := s.Unmount(context.WithoutCancel(ctx), name, copyHolder); err != nil {
				s.log.WarnContext(ctx, "unmount volume after copying", "volume", name, "err", err)
			}
		}()
	}
	if err := v.populate(ctx, rootfd, path); err != nil {
		return errs.New(errs.Internal, "failed to populate volume: copy %s of the image into volume %q: %w", path, name, err)
	}
	return nil
}

// populate copies with the intent on disk.
func (v *vol) populate(ctx context.Context, rootfd int, path string) error {
	src, err := mount.RootAt(rootfd).Open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFD(src)
	if fresh, err := isEmpty(v.data()); err != nil || !fresh {
		return err
	}
	dst, err := unix.Open(v.data(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", v.data(), err)
	}
	defer closeFD(dst)
	marker := filepath.Join(v.dir, populating)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return err
	}
	c := copier{ctx: ctx, dst: dst, links: map[inode]string{}}
	if err := c.tree(src, dst, "."); err != nil {
		return errors.Join(err, empty(v.data()), os.Remove(marker))
	}
	return os.Remove(marker)
}

func closeFD(fd int) {
	_ = unix.Close(fd) // directories and handles have nothing to flush
}
