package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// sharedMounts is what is recorded of a container whose mount namespace is not its
// own, so that its mounts can be undone: they do not go with its processes.
type sharedMounts struct {
	Namespace namespaceFile  `json:"namespace"`
	User      *namespaceFile `json:"user,omitempty"` // the one that gives the right to it, for an ordinary user
	// Base is what all other mounts of the container lie on, its root first; nil: it
	// was never made.
	Base *mount.Identity `json:"base,omitempty"`
	Root mount.Identity  `json:"root"`
}

// namespaceFile says which namespace it was, and where it was found.
type namespaceFile struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

func newNamespaceFile(path string, st unix.Stat_t) namespaceFile {
	return namespaceFile{Path: path, Dev: st.Dev, Ino: st.Ino}
}

// open finds the namespace again: where it was, or else with a process that lives
// in it. kind is a name under /proc/PID/ns. It is fs.ErrNotExist if nobody does.
func (n namespaceFile) open(kind string) (int, error) {
	if h, ok := n.openAt(n.Path); ok {
		return h, nil
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/" + kind)
	if err != nil {
		return -1, err
	}
	for _, path := range all {
		if h, ok := n.openAt(path); ok {
			return h, nil
		}
	}
	return -1, fs.ErrNotExist
}

func (n namespaceFile) openAt(path string) (int, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Dev != n.Dev || st.Ino != n.Ino {
		return -1, false // a file that is no namespace is not opened
	}
	h, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false
	}
	if err := unix.Fstat(h, &st); err != nil || st.Dev != n.Dev || st.Ino != n.Ino {
		fd.Close(h)
		return -1, false
	}
	return h, true
}

// share records the mount namespace that a container without one of its own is
// going to be in.
func (c *Container) share(job *creation, j *joined) error {
	if c.state.Shared == nil {
		return nil
	}
	s := &sharedMounts{}
	var st unix.Stat_t
	path := "/proc/self/ns/mnt"
	err := unix.Stat(path, &st)
	if h := j.of(unix.CLONE_NEWNS); h >= 0 {
		path = job.namespaces.Join["mount"]
		err = unix.Fstat(h, &st)
	}
	s.Namespace = newNamespaceFile(path, st)
	if h := j.of(unix.CLONE_NEWUSER); err == nil && h >= 0 && !mayMount() {
		err = unix.Fstat(h, &st)
		user := newNamespaceFile(job.namespaces.Join["user"], st)
		s.User = &user
	}
	if err != nil {
		return fmt.Errorf("identify mount namespace: %w", err)
	}
	c.mu.Lock()
	c.state.Shared = s
	c.mu.Unlock()
	return nil
}

// keepMount records the mount that init is about to make. It must not lie on that
// of another container, which would be undone with it.
func (c *Container) keepMount(body []byte) error {
	var m boot.SharedMount
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("decode init's mount: %w", err)
	}
	if c.state.Shared == nil {
		return errors.New("follow init: a mount that is not its own to make")
	}
	all, err := c.rt.List()
	if err != nil {
		return err
	}
	for _, o := range all {
		if s := o.state.Shared; o.id != c.id && s != nil && s.Base != nil && (s.Base.Holds(m.Place) || s.Root.Holds(m.Place)) {
			return errs.New(errs.Conflict, "the root filesystem is in use: container %q has it in the same mount namespace", o.id)
		}
	}
	c.mu.Lock()
	c.state.Shared.Base, c.state.Shared.Root = &m.Base, m.Root
	c.mu.Unlock()
	return c.writeState()
}

// unmountShared undoes the mounts of a container that has no mount namespace of
// its own. A process of ours does it there, as it may have to join a user
// namespace to have the right.
func (c *Container) unmountShared(ctx context.Context) error {
	shared := c.state.Shared
	if shared == nil || shared.Base == nil {
		return nil
	}
	mnt, err := shared.Namespace.open("mnt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone, with all mounts
	}
	if err != nil {
		return err
	}
	defer fd.Close(mnt)
	b := &birth{extra: []int{mnt}, oneShot: c.rt.oneShot, log: c.rt.log}
	if shared.User != nil {
		users, err := shared.User.open("user")
		if err != nil {
			return fmt.Errorf("open user namespace %s: %w", shared.User.Path, err)
		}
		defer fd.Close(users)
		b.joins, b.beRoot = []ns.Membership{{FD: users, Kinds: unix.CLONE_NEWUSER}}, true
	}
	s, err := b.spawn()
	if err != nil {
		return err
	}
	defer s.closeFiles()
	p := &plan.Init{ID: c.id, Unmount: shared.Base}
	p.FDs = plan.FDs{FirstClosed: b.sockFD(), MountNS: b.sockFD() + 1}
	return errors.Join(s.handshake(ctx, p, nil, true), s.kill())
}

// openSharedRoot opens the root directory of the container's init, whose pidfd
// proves that its pid is not another's. It is -1 for a container whose mount
// namespace is its own, and so is the namespace's root. A root that init does not
// have yet, or has left, is refused: who runs an exec must not get elsewhere.
func (c *Container) openSharedRoot(pid, pidfd int) (int, error) {
	if c.state.Shared == nil {
		return -1, nil
	}
	h, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open root of process", Path: fmt.Sprint(pid), Err: err}
	}
	ended, err := ns.WaitExit(pidfd, 0)
	if err == nil && ended {
		err = errs.New(errs.Conflict, "the container has stopped")
	}
	var id mount.Identity
	if err == nil {
		id, err = mount.Identify(h)
	}
	if err == nil && id != c.state.Shared.Root {
		err = errs.New(errs.Conflict, "its first process has not the container's root directory")
	}
	if err != nil {
		fd.Close(h)
		return -1, err
	}
	return h, nil
}
