package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/systemd"
)

// Create makes the directories. A group that is there already is taken over, unless
// processes are in it or below it or it is frozen: then it is another container's,
// and the error is errs.Conflict. After an error nothing is changed. Undo with Remove.
func (g Group) Create(r *Resources) error { return g.create(r, false) }

// create is Create; a group that is ours already may have processes.
func (g Group) create(r *Resources, ours bool) error {
	m := maker{group: g, ours: ours}
	err := m.makeAll(r)
	if err != nil {
		return fmt.Errorf("create cgroup: %w", errors.Join(err, m.undo()))
	}
	return nil
}

// maker makes the directories of a group and knows which are new.
type maker struct {
	group Group
	ours  bool     // what is there already is the group's own
	made  []string // those above others first
}

func (m *maker) makeAll(r *Resources) error {
	if m.group.V2() {
		return m.makeV2(r)
	}
	for _, dir := range m.group.dirs() {
		if err := m.dir(dir); err != nil {
			return err
		}
	}
	if dir, ok := m.group.V1["cpuset"]; ok {
		return initCpuset(dir)
	}
	return nil
}

// undo removes what has been made.
func (m *maker) undo() (err error) {
	for _, dir := range slices.Backward(m.made) {
		if rerr := unix.Rmdir(dir); rerr != nil && !errors.Is(rerr, unix.ENOENT) {
			err = errors.Join(err, &os.PathError{Op: "rmdir", Path: dir, Err: rerr})
		}
	}
	m.made = nil
	return err
}

// dir makes one of the group's directories, and those above it if need be, which
// stay.
func (m *maker) dir(dir string) error {
	err := m.leaf(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			err = m.leaf(dir)
		}
	}
	return err
}

// leaf makes one of the group's directories. Of one that is there already the
// kernel says so, and only then it is looked at.
func (m *maker) leaf(dir string) (err error) {
	const tries = 10 // for a group that is just being removed
	for range tries {
		if err = os.Mkdir(dir, 0o755); err == nil {
			m.made = append(m.made, dir)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if m.ours {
			return nil
		}
		if used := m.group.checkUnused(dir); !gone(used) {
			return used
		}
	}
	return err
}

// checkUnused refuses a directory of the group with processes, and one that would
// not let any run.
func (g Group) checkUnused(dir string) error {
	if dir == g.Unified {
		data, err := fd.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err != nil {
			return err
		}
		populated, _ := keyed(string(data), "populated")
		frozen, _ := keyed(string(data), "frozen")
		return refuse(dir, populated == "1", frozen == "1")
	}
	pids, err := allPids(dir)
	if err != nil {
		return err
	}
	frozen := false
	if dir == g.V1["freezer"] {
		state, err := fd.ReadFile(filepath.Join(dir, "freezer.state"))
		if err != nil {
			return err
		}
		frozen = strings.TrimSpace(string(state)) != "THAWED"
	}
	return refuse(dir, len(pids) > 0, frozen)
}

func refuse(dir string, populated, frozen bool) error {
	switch {
	case populated:
		return errs.New(errs.Conflict, "container's cgroup is not empty: there are processes in %s", dir)
	case frozen:
		return errs.New(errs.Conflict, "container's cgroup unexpectedly frozen: %s", dir)
	}
	return nil
}

// initCpuset gives dir, and its ancestors first, the CPUs and memory nodes of
// the parent: a v1 cpuset starts with none, and then no task may enter it.
func initCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := inheritCpuset(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func inheritCpuset(dir, name string) (string, error) {
	file := filepath.Join(dir, name)
	data, err := fd.ReadFile(file)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(data))
	if value != "" {
		return value, nil
	}
	if value, err = inheritCpuset(filepath.Dir(dir), name); err != nil {
		return "", err
	}
	return value, fd.WriteFile(file, value)
}

// Set applies limits; fields with zero values stay as they are. Devices are
// not among them, see AllowDevices.
func (g Group) Set(r *Resources) error {
	if g.Scope == nil {
		return g.write(r)
	}
	limits := *r
	err := g.Scope.set(func(version int) ([]systemd.Property, error) { return limitProperties(&limits, g.V2(), version) })
	if err != nil {
		return err
	}
	return g.write(&limits)
}

// write writes limits to the group's files.
func (g Group) write(r *Resources) error {
	write := g.writeV1
	if g.V2() {
		write = g.writeV2
	}
	err := write(r)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return errs.New(errs.InvalidArgument, "set cgroup limits: %w", err)
	}
	if err != nil {
		return fmt.Errorf("set cgroup limits: %w", err)
	}
	return nil
}
