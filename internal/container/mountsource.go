package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	linuxmount "github.com/gantry-run/gantry/internal/linux/mount"
)

// checkSources verifies the host paths of bind mounts, but for those that -v makes
// when the container starts.
func checkSources(ms []mountPoint) error {
	for _, m := range ms {
		if m.Type != mount.TypeBind {
			continue
		}
		_, err := os.Stat(m.Source)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist) && m.CreateSource:
		case errors.Is(err, fs.ErrNotExist):
			return errs.New(errs.InvalidArgument, "invalid mount config for type %q: bind source path does not exist: %s", m.Type, m.Source)
		default:
			return errs.New(errs.InvalidArgument, "invalid mount config for type %q: %w", m.Type, err)
		}
	}
	return nil
}

// prepareSources makes the host paths of bind mounts that -v may make, or none on
// an error, and checks all: a path may be gone since create. They belong to the
// container's root, whose ids are given if it is not the machine's.
func (s *Service) prepareSources(ms []mountPoint, ids *user.IdentityMapping) (err error) {
	var made []string // outermost first
	defer func() {
		for _, dir := range made {
			if err != nil {
				_ = os.Remove(dir) // only if still empty
			}
		}
	}()
	if err := checkSources(ms); err != nil {
		return err
	}
	for _, m := range ms {
		if m.Type != mount.TypeBind || !m.CreateSource {
			continue
		}
		if _, err := os.Stat(m.Source); err == nil {
			continue
		}
		first := firstMissing(m.Source)
		if err := makeSource(m.Source, ids); err != nil {
			return errs.New(errs.Internal, "error while creating mount source path '%s': %w", m.Source, err)
		}
		made = append(made, first)
	}
	return checkPropagation(ms, s.DataRoot)
}

func makeSource(source string, ids *user.IdentityMapping) error {
	if ids == nil {
		return os.MkdirAll(source, 0o755)
	}
	at := filepath.Dir(firstMissing(source))
	missing, err := filepath.Rel(at, source)
	if err != nil {
		return err
	}
	parent, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: at, Err: err}
	}
	for _, name := range strings.Split(missing, "/") {
		at = filepath.Join(at, name)
		next, err := makeOwned(parent, name, ids)
		fd.Close(parent)
		if err != nil {
			return &fs.PathError{Op: "mkdir", Path: at, Err: err}
		}
		parent = next
	}
	fd.Close(parent)
	return nil
}

// makeOwned makes a directory that belongs to the container's root and opens it. One
// that is there already is not changed, nor one that somebody puts in its place.
func makeOwned(parent int, name string, ids *user.IdentityMapping) (int, error) {
	h, made, err := linuxmount.MakeDir(parent, name, 0o755)
	if err != nil || !made {
		return h, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(h, &st); err == nil && int(st.Uid) != os.Geteuid() {
		err = errs.New(errs.Conflict, "it was replaced by something else while it was made")
	}
	if err == nil {
		uid, gid := ids.RootPair()
		err = unix.Fchownat(h, "", uid, gid, unix.AT_EMPTY_PATH)
	}
	if err != nil {
		fd.Close(h)
		return -1, err
	}
	return h, nil
}

func firstMissing(p string) string {
	for {
		parent := filepath.Dir(p)
		if _, err := os.Stat(parent); err == nil || parent == p {
			return p
		}
		p = parent
	}
}
