package container

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/archive"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// openRootfs gives a view of a stopped container's root file system: a mount
// that is attached nowhere, so nobody else sees it and nothing is left when the
// daemon dies. Names below it must be resolved with RESOLVE_IN_ROOT.
func (s *Service) openRootfs(ctx context.Context, id string) (*mount.Detached, error) {
	m, err := s.rootfsStep(ctx, id)
	if err != nil {
		return nil, err
	}
	if m.Type == "bind" {
		return mount.Clone(unix.AT_FDCWD, m.Source, false)
	}
	o := mount.ParseOptions(m.Options)
	d, err := mount.New(m.Type, m.Source, nil, o.Data, 0)
	if err != nil {
		return nil, fmt.Errorf("view root file system of container %s: %w", id, err)
	}
	return d, nil
}

// rootfsStep is the mount that makes a container's root file system.
func (s *Service) rootfsStep(ctx context.Context, id string) (m engine.RootfsMount, err error) {
	steps, err := s.Images.RootfsMounts(ctx, id)
	if err != nil {
		return m, err
	}
	if len(steps) != 1 {
		return m, errs.New(errs.Unsupported, "view root file system of container %s: %d mounts instead of one", id, len(steps))
	}
	return steps[0], nil
}

// layers are the directories of an overlay.
type layers struct {
	upper string
	lower []string // topmost first
}

// rootfsLayers finds the directories behind a container's root file system.
func (s *Service) rootfsLayers(ctx context.Context, id string) (l layers, err error) {
	steps, err := s.Images.RootfsMounts(ctx, id)
	if err != nil {
		return l, err
	}
	return overlayLayers(id, steps)
}

func overlayLayers(id string, steps []engine.RootfsMount) (l layers, err error) {
	if len(steps) != 1 || steps[0].Type != "overlay" {
		return l, errs.New(errs.Unsupported, "the storage of container %s does not tell changes apart", id)
	}
	for _, o := range steps[0].Options {
		switch k, v, _ := strings.Cut(o, "="); k {
		case "upperdir":
			l.upper = v
		case "lowerdir":
			l.lower = strings.Split(v, ":")
		case "lowerdir+":
			l.lower = append(l.lower, v)
		}
	}
	return l, nil
}

// marker tells programs that they run in a container. Scripts look for it.
const marker = ".dockerenv"

// mark puts the marker into a new container's root.
func (s *Service) mark(ctx context.Context, id string) error {
	l, err := s.rootfsLayers(ctx, id)
	if errs.Is(err, errs.Unsupported) {
		return nil // a full copy: the marker is a nicety
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.upper, marker), os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o755)
	if err != nil {
		return fmt.Errorf("mark root file system of container %s: %w", id, err)
	}
	return f.Close()
}

// Changes lists what differs between a container's files and its image's, as
// Docker does: kind and path, parents before children.
func (s *Service) Changes(ctx context.Context, id string) ([]container.FilesystemChange, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, err
	}
	l, err := s.rootfsLayers(ctx, c.view().ID)
	if err != nil {
		return nil, err
	}
	lower, done, err := l.openLower()
	if err != nil {
		return nil, err
	}
	defer done()
	own, err := l.own(lower)
	if err != nil {
		return nil, err
	}
	upper, err := unix.Open(l.upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open writable layer: %w", err)
	}
	defer fd.Close(upper)
	changes := []container.FilesystemChange{}
	err = archive.Walk(ctx, mount.RootAt(upper), func(at string, st *unix.Stat_t) error {
		if !own[at] {
			changes = append(changes, container.FilesystemChange{Kind: changeKind(st, at[1:], lower), Path: at})
		}
		return nil
	})
	return dropUnchangedParents(changes), err
}

// openLower opens the layers below; done closes them.
func (l layers) openLower() (lower []*os.Root, done func(), err error) {
	done = func() {
		for _, r := range lower {
			_ = r.Close() // read only
		}
	}
	for _, dir := range l.lower {
		r, err := os.OpenRoot(dir)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("open layer: %w", err)
		}
		lower = append(lower, r)
	}
	return lower, done, nil
}

// own are the files of the writable layer that the engine itself has made. mtab is
// one as long as it is the runtime's link, and no other file has ever been there.
func (l layers) own(lower []*os.Root) (map[string]bool, error) {
	upper, err := os.OpenRoot(l.upper)
	if err != nil {
		return nil, fmt.Errorf("open writable layer: %w", err)
	}
	defer upper.Close() //nolint:errcheck // read only
	if to, err := upper.Readlink("etc/mtab"); err != nil || to != "/proc/mounts" || changeKind(&unix.Stat_t{}, "etc/mtab", lower) != container.ChangeAdd {
		return ours, nil
	}
	more := maps.Clone(ours)
	more["/etc/mtab"] = true
	return more, nil
}

// ownPaths are the paths in a container's writable layer that are no changes of its.
func (s *Service) ownPaths(ctx context.Context, id string) (map[string]bool, error) {
	l, err := s.rootfsLayers(ctx, id)
	if errs.Is(err, errs.Unsupported) {
		return ours, nil
	}
	if err != nil {
		return nil, err
	}
	lower, done, err := l.openLower()
	if err != nil {
		return nil, err
	}
	defer done()
	return l.own(lower)
}

// ours are the files that the engine makes in every container's root.
var ours = map[string]bool{
	"/" + marker: true, "/etc/hostname": true, "/etc/hosts": true, "/etc/resolv.conf": true, InitPath: true,
	"/dev": true, "/dev/console": true, "/dev/pts": true, "/dev/shm": true, "/dev/mqueue": true, "/proc": true, "/sys": true,
}

func changeKind(st *unix.Stat_t, rel string, lower []*os.Root) container.ChangeType {
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return container.ChangeDelete
	}
	for _, r := range lower {
		info, err := r.Lstat(rel)
		if err == nil && !isWhiteout(info) {
			return container.ChangeModify
		}
		if err == nil {
			break // a lower layer had it, a higher one has not
		}
	}
	return container.ChangeAdd
}

// isWhiteout: overlayfs marks a removed file by a character device 0:0.
func isWhiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0
}

// dropUnchangedParents leaves out directories that were copied up only because
// the engine made something of its own in them.
func dropUnchangedParents(all []container.FilesystemChange) []container.FilesystemChange {
	out := make([]container.FilesystemChange, 0, len(all))
	for i, ch := range all {
		alone := i+1 == len(all) || !strings.HasPrefix(all[i+1].Path, ch.Path+"/")
		if alone && (ch.Path == "/etc" || ch.Path == "/sbin") && ch.Kind != container.ChangeDelete {
			continue
		}
		out = append(out, ch)
	}
	return out
}
