package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// unfinished is a checkpoint that is being written. Its directory lies beside the
// place that it is to have, under a name that is no checkpoint's and nobody else's,
// and is locked: the daemon takes what is not for left-over. All is done through
// handles: the directory above may be in one that somebody else can rename.
type unfinished struct {
	parent *os.File // where the checkpoint is to be
	dir    *os.File
	path   string // of parent, as the user has named it
	name   string // of dir in there, at present
	final  string // what name is to become
}

// newUnfinished makes the directory. That in which it lies must be ours, and
// writable for nobody else.
func newUnfinished(dir string) (_ *unfinished, err error) {
	u := &unfinished{path: filepath.Dir(dir), final: filepath.Base(dir)}
	if u.parent, err = os.OpenFile(u.path, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	if err := fd.CheckOwn(int(u.parent.Fd()), "checkpoint directory "+u.path); err != nil {
		return nil, err
	}
	made, err := os.MkdirTemp(u.at(""), wire.Unfinished(u.final)+"*")
	if err != nil {
		return nil, err
	}
	u.name = filepath.Base(made)
	if u.dir, err = fd.OpenIn(int(u.parent.Fd()), u.name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return nil, err
	}
	if err := fd.CheckOwn(int(u.dir.Fd()), u.where()); err != nil { // an odd filesystem
		return nil, errors.Join(err, u.remove())
	}
	_ = unix.Flock(int(u.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) // where the daemon looks, files can be locked
	return u, nil
}

// at is a path that leads through the handle of parent.
func (u *unfinished) at(name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(u.parent.Fd())), name)
}

// where is the directory at present.
func (u *unfinished) where() string { return filepath.Join(u.path, u.name) }

func (u *unfinished) write(name string, data []byte) error {
	f, err := fd.OpenIn(int(u.dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// settle gives a checkpoint its name when it would outlive a power loss: the
// container may not be there any more.
func (u *unfinished) settle() error {
	for _, step := range []func() error{
		func() error { return unix.Syncfs(int(u.dir.Fd())) },
		u.rename,
		func() error { return unix.Syncfs(int(u.parent.Fd())) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("finish checkpoint %s: %w", filepath.Join(u.path, u.final), err)
		}
	}
	return nil
}

func (u *unfinished) rename() error {
	parent := int(u.parent.Fd())
	err := unix.Renameat2(parent, u.name, parent, u.final, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // NFS, some of FUSE: this replaces nothing but an empty directory
		err = unix.Renameat(parent, u.name, parent, u.final)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		return errs.New(errs.Conflict, "there is something of that name meanwhile")
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: u.where(), New: u.final, Err: err}
	}
	u.name = u.final
	return nil
}

// remove removes the directory with all that is in it.
func (u *unfinished) remove() error {
	if err := os.RemoveAll(u.at(u.name)); err != nil {
		return fmt.Errorf("remove unfinished checkpoint %s: %w", u.where(), err)
	}
	return nil
}

func (u *unfinished) close() {
	_ = u.parent.Close() // only read
	_ = u.dir.Close()    // so too, and nil where it was not opened
}
