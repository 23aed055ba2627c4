package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// Door is a group opened for joining. The files are opened before the joining
// thread changes its mount namespace, behind which the paths would be hidden.
// None (nil) is that of a process that stays where it is.
type Door struct {
	tasks   []int
	unified int
}

// Open opens the group for joining, or groups below it: below maps v1 controllers to
// relative paths; that of the empty name counts in all hierarchies.
func (g Group) Open(below map[string]string) (_ *Door, err error) {
	subs, err := g.subGroups(below)
	if err != nil {
		return nil, err
	}
	d := &Door{unified: -1}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	for _, dir := range g.dirs() {
		sub := subs[dir]
		unified := dir == g.Unified
		dir = filepath.Join(dir, sub)
		if unified {
			d.unified, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
			}
			continue
		}
		fd, err := unix.Open(filepath.Join(dir, "tasks"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
		}
		d.tasks = append(d.tasks, fd)
	}
	return d, nil
}

// subGroups finds out which group below each of the group's directories is meant.
func (g Group) subGroups(below map[string]string) (map[string]string, error) {
	if len(below) == 0 {
		return nil, nil
	}
	subs := map[string]string{}
	for controller, sub := range below {
		if strings.Contains("/"+sub+"/", "/../") {
			return nil, errs.New(errs.InvalidArgument, "bad sub cgroup path: %s", sub)
		}
		if controller == "" {
			for _, dir := range g.dirs() {
				subs[dir] = sub
			}
			continue
		}
		dir, ok := g.V1[controller]
		if !ok {
			return nil, errs.New(errs.InvalidArgument, "unknown controller %s of cgroup v1", controller)
		}
		if other, ok := subs[dir]; ok && other != sub {
			return nil, errs.New(errs.InvalidArgument, "controller %s is mounted together with one for which there is another cgroup", controller)
		}
		subs[dir] = sub
	}
	return subs, nil
}

// EnterV1 moves the calling thread, and nothing else, into the v1 groups. What
// it forks is born there. A thread moving itself takes no global lock; moving
// any other process waits 10 ms and more for all CPUs to notice.
func (d *Door) EnterV1() error {
	if d == nil {
		return nil
	}
	for _, fd := range d.tasks {
		if _, err := unix.Write(fd, []byte{'0'}); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// Tasks are the files of the v1 groups into which a process with one thread
// writes 0 to join, as EnterV1 does for a thread.
func (d *Door) Tasks() []int { return d.tasks }

// Unified is the descriptor for clone3's CLONE_INTO_CGROUP, -1 without unified hierarchy.
func (d *Door) Unified() int {
	if d == nil {
		return -1
	}
	return d.unified
}

// Close closes the files. It may be called twice.
func (d *Door) Close() {
	if d == nil {
		return
	}
	for _, fd := range d.tasks {
		_ = unix.Close(fd) // every write was checked when it was made
	}
	d.tasks = nil
	if d.unified >= 0 {
		_ = unix.Close(d.unified) // only a handle
		d.unified = -1
	}
}

// OpenOf opens for joining the unified group in which process pid is now. It
// serves where the container's own group may hold no processes any more, since
// the container made groups below it and moved its processes there.
func (g Group) OpenOf(pid int) (int, error) {
	data, err := fd.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return -1, fmt.Errorf("find cgroup of process %d: %w", pid, err)
	}
	all, err := hierarchies()
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		for _, h := range all {
			if len(h.controllers) == 0 {
				return unix.Open(filepath.Join(h.mount, path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			}
		}
	}
	return -1, errors.New("find unified cgroup: not mounted")
}

// UnifiedDoor is d with another group of the unified hierarchy. It shares d's
// v1 files and is not to be closed.
func UnifiedDoor(unified int, d *Door) *Door { return &Door{tasks: d.tasks, unified: unified} }
