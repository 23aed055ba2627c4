package mount

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mountinfo"
)

// Identity tells a mount from all others, also from those that come to its place
// later.
type Identity struct {
	Unique uint64 `json:"unique,omitempty"` // never given again; 0 before Linux 6.8
	ID     uint64 `json:"id"`               // of mountinfo, which is given again when the mount is gone
	Dev    uint64 `json:"dev"`              // the root of the mount
	Ino    uint64 `json:"ino"`
}

// Identify finds out which mount the handle is on. Dev and Ino are the handle's.
func Identify(fd int) (Identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_INO, &st); err != nil {
		return Identity{}, fmt.Errorf("identify mount: %w", err)
	}
	id := Identity{ID: st.Mnt_id, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return Identity{}, fmt.Errorf("identify mount: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		id.Unique = st.Mnt_id
	}
	return id, nil
}

// Holds tells whether other, of a handle, is on the mount.
func (id Identity) Holds(other Identity) bool { return id.Unique == other.Unique && id.ID == other.ID }

// LiesOn tells whether the mount is mounted directly on another. proc is as for
// Unmount.
func (id Identity) LiesOn(other Identity, proc int) (bool, error) {
	table, err := readTable(proc)
	return err == nil && table[id.ID].parent == other.ID, err
}

// maxOver bounds how many mounts on top of one are removed to get at it.
const maxOver = 1000

// Unmount takes the mount, with all that is mounted on it, out of the mount
// namespace of the calling thread; files that are in use stay so. One that is gone
// is no error. proc is a handle on a procfs with this process in it.
//
// The mount is looked up by its identity and its path is only the way to it:
// whatever else has come to be there stays, and is an error (errs.Unavailable)
// if it hides the mount. What lies on the mount itself goes with it. The thread's
// working directory changes, which it must not share with others that care.
func (id Identity) Unmount(proc int) error {
	for range maxOver {
		done, err := id.unmountTop(proc)
		if done || err != nil {
			return err
		}
	}
	return errs.New(errs.Unavailable, "unmount mount %d: more and more is mounted over it", id.ID)
}

// unmountTop removes the uppermost mount at the place of the mount, if it is the
// mount or lies on it, and tells whether the mount is gone.
func (id Identity) unmountTop(proc int) (done bool, err error) {
	table, err := readTable(proc)
	if err != nil {
		return false, err
	}
	entry, ok := table[id.ID]
	if !ok {
		return true, nil
	}
	top, got, err := openPlace(entry.place)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, entry.hidden()
	}
	if err != nil {
		return false, fmt.Errorf("open mount point: %w", err)
	}
	defer func() { _ = unix.Close(top) }() // only a handle
	if got.ID == id.ID && got != id {
		return true, nil // the number is another's now
	}
	if got != id {
		// Only now is the list sure to know the uppermost mount, which the handle keeps.
		if table, err = readTable(proc); err != nil {
			return false, err
		}
		if !table.isOn(got.ID, id.ID) {
			return false, entry.hidden()
		}
	}
	if err := detach(top); err != nil {
		return false, fmt.Errorf("unmount %s: %w", entry.place, err)
	}
	return got == id, nil
}

// detach unmounts the mount whose root is the handle. The path is the working
// directory: nobody can swap it.
func detach(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	return errors.Join(unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/"))
}

// openPlace opens the uppermost mount at a mount point.
func openPlace(place string) (int, Identity, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	h, err := unix.Openat2(unix.AT_FDCWD, place, &how)
	if err != nil {
		return -1, Identity{}, &os.PathError{Op: "open", Path: place, Err: err}
	}
	id, err := Identify(h)
	if err != nil {
		_ = unix.Close(h) // only a handle
		return -1, Identity{}, err
	}
	return h, id, nil
}

// table is the mounts of a namespace by their numbers.
type table map[uint64]tableEntry

type tableEntry struct {
	parent uint64
	place  string // the mount point, as a path from the root of the reader
}

func (e tableEntry) hidden() error {
	return errs.New(errs.Unavailable, "unmount %s: another mount hides it", e.place)
}

// isOn tells whether a mount lies on another, directly or not.
func (t table) isOn(id, on uint64) bool {
	for range len(t) {
		entry, ok := t[id]
		if !ok {
			return false
		}
		if entry.parent == on {
			return true
		}
		id = entry.parent
	}
	return false
}

func readTable(proc int) (table, error) {
	h, err := unix.Openat(proc, "thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	file := os.NewFile(uintptr(h), "mountinfo")
	defer func() { _ = file.Close() }() // read only
	t := table{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := mountinfo.Parse(lines.Text())
		if err != nil {
			return nil, err
		}
		t[m.ID] = tableEntry{m.Parent, m.Place}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return t, nil
}
