package oci

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Runtime runs containers whose state lives under one directory. All its
// methods are safe for concurrent use, also by several processes.
type Runtime struct {
	root          string
	systemdCgroup bool
	oneShot       bool
	rootless      func() bool
	resctrl       string
	log           *slog.Logger
}

// New makes a Runtime. The state directory is made when it is first needed.
func New(o Options) (*Runtime, error) {
	if !filepath.IsAbs(o.Root) {
		return nil, errs.New(errs.InvalidArgument, "runtime root %q is not absolute", o.Root)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	rootless := ns.Rootless
	if o.Rootless != nil {
		rootless = func() bool { return *o.Rootless }
	}
	return &Runtime{
		root: filepath.Clean(o.Root), systemdCgroup: o.SystemdCgroup, oneShot: o.OneShot, rootless: rootless, resctrl: o.Resctrl, log: log,
	}, nil
}

// maxID is the longest container id: a file name, with room for suffixes.
const maxID = 200

func checkID(id string) error {
	if id == "" {
		return errs.New(errs.InvalidArgument, "container ID cannot be empty")
	}
	if id == "." || id == ".." || len(id) > maxID || strings.ContainsFunc(id, forbiddenInID) {
		return errs.New(errs.InvalidArgument, "invalid container ID format: %q", id)
	}
	return nil
}

func forbiddenInID(c rune) bool {
	letter := 'a' <= c|0x20 && c|0x20 <= 'z'
	digit := '0' <= c && c <= '9'
	return c > unicode.MaxASCII || !letter && !digit && !strings.ContainsRune("_+.-", c)
}

func (r *Runtime) dir(id string) string { return filepath.Join(r.root, id) }

// Load finds a container by its id; errs.NotFound if there is none.
func (r *Runtime) Load(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(r.dir(id)); errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "container does not exist")
	}
	s, err := readState(r.dir(id))
	if err != nil {
		return nil, err
	}
	return &Container{id: id, rt: r, dir: r.dir(id), state: s}, nil
}

// List gives all containers, sorted by id. One whose state cannot be read is
// given too: it can only be deleted.
func (r *Runtime) List() ([]*Container, error) {
	entries, err := os.ReadDir(r.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Container
	for _, e := range entries {
		if !e.IsDir() || checkID(e.Name()) != nil {
			continue
		}
		c, err := r.Load(e.Name())
		if errs.Is(err, errs.NotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			r.log.Warn("container state is unreadable", "container", e.Name(), "error", err)
			c = &Container{id: e.Name(), rt: r, dir: r.dir(e.Name()), state: record{ID: e.Name()}}
		}
		all = append(all, c)
	}
	return all, nil
}
