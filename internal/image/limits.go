package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	units "github.com/docker/go-units"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/quota"
)

// limits bound what containers write by quotas of projects: each limited layer is
// a project of its own. Its id is written beside the layer, as a link like "base",
// before anything belongs to the project, so that it can be given back whenever the
// daemon dies. What the container makes of the ids of its files is not relied on.
type limits struct {
	fs      *quota.Filesystem // nil: the filesystem has no such quotas
	preset  uint64            // of containers without a size of their own; 0: none
	overlay bool
}

const projectLink = "project"

// limited are the directories of a layer that belong to its project. The directory
// that they are in does not: it is moved about.
var limited = []string{"fs", "work"}

// Docker's words.
var errNoQuota = errs.New(errs.InvalidArgument, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option")

// openLimits reads the daemon's storage options and looks for quotas.
func openLimits(root, driver string, opts []string) (limits, error) {
	l := limits{overlay: driver == driverOverlay}
	for _, opt := range opts {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			return l, errs.New(errs.InvalidArgument, "unable to parse key/value option: %s", opt)
		}
		if key = strings.ToLower(strings.TrimSpace(key)); key != "overlay2.size" || !l.overlay {
			return l, errs.New(errs.InvalidArgument, "overlay2: unknown option %s", key)
		}
		n, err := units.RAMInBytes(strings.TrimSpace(value))
		if err != nil {
			return l, errs.New(errs.InvalidArgument, "storage option %s: %w", key, err)
		}
		l.preset = uint64(n)
	}
	if !l.overlay {
		return l, nil
	}
	fs, err := quota.Open(root)
	if errs.Is(err, errs.Unsupported) && l.preset > 0 {
		return l, errs.New(errs.Unsupported, "Storage option overlay2.size not supported. Filesystem does not support Project Quota: %w", err)
	}
	if err != nil && !errs.Is(err, errs.Unsupported) {
		return l, err
	}
	l.fs = fs
	return l, nil
}

func (l *limits) close() error {
	if l.fs == nil {
		return nil
	}
	return l.fs.Close()
}

// size reads a container's storage options.
func (l *limits) size(opts map[string]string) (uint64, error) {
	size := l.preset
	if _, ok := opts["size"]; ok && l.fs == nil {
		return 0, errNoQuota
	}
	for key, value := range opts {
		if strings.ToLower(key) != "size" {
			return 0, errs.New(errs.InvalidArgument, "Unknown option %s", strings.ToLower(key))
		}
		n, err := units.RAMInBytes(value)
		if err != nil {
			return 0, errs.Wrap(errs.InvalidArgument, err)
		}
		size = uint64(n)
	}
	if size > 0 && l.fs == nil {
		return 0, errNoQuota
	}
	return size, nil
}

// maxClaims bounds how often another id is tried when others took one at the same
// moment.
const maxClaims = 20

// set limits the layer in dir, which is new: its directories are empty.
func (l *limits) set(dir string, size uint64) error {
	link, dirs := filepath.Join(dir, projectLink), make([]string, 0, len(limited))
	for _, name := range limited {
		dirs = append(dirs, filepath.Join(dir, name))
	}
	for range maxClaims {
		id, err := l.fs.Unused()
		if err != nil {
			return err
		}
		if err := os.Symlink(strconv.FormatUint(uint64(id), 10), link); err != nil {
			return fmt.Errorf("record project: %w", err)
		}
		alone, err := l.fs.Assign(id, dirs...)
		if err != nil {
			return err
		}
		if alone {
			return l.fs.Limit(id, size)
		}
		if err := os.Remove(link); err != nil { // before the directories are somewhere else
			return err
		}
	}
	return errs.New(errs.Unavailable, "no project found that is nobody else's")
}

// remove removes a layer's directory and frees its project. half is for one that
// prepare has not finished.
func (l *limits) remove(dir string, half bool) error {
	id, ok := l.project(dir)
	if !ok {
		return os.RemoveAll(dir)
	}
	owner, err := quota.Project(filepath.Join(dir, "fs"))
	if err == nil && owner == id {
		// While the layer is there, nobody else takes the id. What is left when we die
		// in between is freed the next time, and what has no link has no limit.
		if err := l.free(id, half); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, projectLink)); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	// Somebody has copied the layer from another disk, or the container has changed
	// its project: the id may be another's now.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if q, err := l.fs.Get(id); err != nil || q.Inodes > 0 {
		return err
	}
	return l.fs.Limit(id, 0)
}

// free takes the limit from a project that a layer is in. A half-made layer may not
// be alone in it yet, and then the limit is another's.
func (l *limits) free(id uint32, half bool) error {
	if half {
		if q, err := l.fs.Get(id); err != nil || q.Inodes > uint64(len(limited)) {
			return err
		}
	}
	return l.fs.Limit(id, 0)
}

// project reads which project a layer was given.
func (l *limits) project(dir string) (id uint32, ok bool) {
	if l.fs == nil {
		return 0, false
	}
	text, err := os.Readlink(filepath.Join(dir, projectLink))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n > 0
}
