package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/compression"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Owner is who gets the unpacked files.
type Owner struct{ UID, GID int }

// Unpacker writes archives into a root.
type Unpacker struct {
	Root mount.Root
	// KeepKinds refuses to put a directory in the place of something else, and the
	// other way round.
	KeepKinds bool
	// Owner, if set, replaces the owners that the archive names.
	Owner *Owner
	// IDs are the container's. If they map anything, the caller sees to it that what
	// is made belongs to the container's root: see process.OwnFiles.
	IDs IDs
}

// Into unpacks a tar stream, compressed or not, into an existing directory of
// the root. What cannot be unpacked ends it; what has been until then stays.
func (u Unpacker) Into(ctx context.Context, dir string, r io.Reader) error {
	p, err := find(u.Root, strings.TrimSuffix(dir, "/")+"/")
	if err != nil {
		return err
	}
	defer p.close()
	if err := refuseSystem(p.handle, dir); err != nil {
		return err
	}
	plain, err := compression.Decompress(r)
	if err != nil {
		return err
	}
	defer plain.Close() //nolint:errcheck // read only
	x := unpacking{Unpacker: u, ctx: ctx, top: path.Join("/", dir), tar: tar.NewReader(plain)}
	for {
		head, err := x.tar.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return errs.New(errs.InvalidArgument, "read archive: %w", err)
		}
		if err := x.entry(head); err != nil {
			return err
		}
	}
}

// system are filesystems through which the kernel is spoken to.
var system = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC,
}

// refuseSystem keeps an archive from speaking to the kernel with the engine's rights.
func refuseSystem(h int, name string) error {
	for _, magic := range system {
		if mount.IsFilesystem(h, magic) {
			return errs.New(errs.Permission, "cannot copy to %s: it belongs to the kernel", name)
		}
	}
	return nil
}

// unpacking is one run of an Unpacker.
type unpacking struct {
	Unpacker
	ctx  context.Context
	top  string // where the archive's names begin, in the root
	tar  *tar.Reader
	dirs []*tar.Header // whose times are set last
}

func (x *unpacking) entry(head *tar.Header) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	name := path.Clean("/" + head.Name)[1:] // names never leave the top
	if name == "" {
		return nil // the top itself stays as it is
	}
	parent, err := x.parent(path.Dir(name))
	if err != nil {
		return fmt.Errorf("unpack %s: %w", head.Name, err)
	}
	defer fd.Close(parent)
	base := path.Base(name)
	if err := x.clear(parent, base, head); err != nil {
		return err
	}
	if err := x.make(parent, base, head); err != nil {
		return fmt.Errorf("unpack %s: %w", head.Name, err)
	}
	if head.Typeflag == tar.TypeDir {
		x.dirs = append(x.dirs, &tar.Header{Name: name, ModTime: head.ModTime})
	}
	return nil
}

// parent opens the directory that an entry is to be made in, and makes it if it
// is missing. Links in it are the container's and lead inside the root.
func (x *unpacking) parent(dir string) (int, error) {
	h, err := x.Root.OpenOrCreate(path.Join(x.top, dir), true)
	if err != nil {
		return -1, err
	}
	if err := refuseSystem(h, path.Join(x.top, dir)); err != nil {
		fd.Close(h)
		return -1, err
	}
	return h, nil
}

// clear makes place for an entry.
func (x *unpacking) clear(parent int, base string, head *tar.Header) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", head.Name, err)
	}
	isDir, wantDir := st.Mode&unix.S_IFMT == unix.S_IFDIR, head.Typeflag == tar.TypeDir
	switch {
	case isDir && wantDir:
		return nil
	case x.KeepKinds && isDir:
		return errs.New(errs.InvalidArgument, "cannot overwrite directory %q with non-directory %q", path.Join(x.top, head.Name), x.top)
	case x.KeepKinds && wantDir:
		return errs.New(errs.InvalidArgument, "cannot overwrite non-directory %q with directory %q", path.Join(x.top, head.Name), x.top)
	case isDir:
		err = removeAll(parent, base)
	default:
		err = unix.Unlinkat(parent, base, 0)
	}
	if err != nil {
		return fmt.Errorf("unpack %s: make place: %w", head.Name, err)
	}
	return nil
}

// removeAll removes a directory by handles, never through a link.
func removeAll(parent int, base string) error {
	dir, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(dir), base)
	names, err := f.Readdirnames(-1)
	for _, n := range names {
		if err != nil {
			break
		}
		err = unix.Unlinkat(dir, n, 0)
		if errors.Is(err, unix.EISDIR) {
			err = removeAll(dir, n)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

// make makes one entry with all its attributes.
func (x *unpacking) make(parent int, base string, head *tar.Header) error {
	mode := uint32(head.Mode) & 0o7777
	switch head.Typeflag {
	case tar.TypeDir:
		return x.dir(parent, base, mode, head)
	case tar.TypeReg, '\x00':
		return x.file(parent, base, mode, head)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(head.Linkname, parent, base); err != nil {
			return err
		}
	case tar.TypeLink:
		return x.link(parent, base, head)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kinds := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}
		dev := unix.Mkdev(uint32(head.Devmajor), uint32(head.Devminor))
		if err := unix.Mknodat(parent, base, kinds[head.Typeflag], int(dev)); err != nil {
			return err
		}
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return errs.New(errs.InvalidArgument, "unhandled tar header type %d", head.Typeflag)
	}
	h, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(h)
	if err := x.checkMade(h, head); err != nil {
		return err
	}
	return x.attributes(h, mode, head)
}

// dir makes a directory, or gives one that is there the attributes. One that is not
// the container's stays as it is: its root could not change it either.
func (x *unpacking) dir(parent int, base string, mode uint32, head *tar.Header) error {
	h, made, err := mount.MakeDir(parent, base, 0o700)
	if err != nil {
		return err
	}
	defer fd.Close(h)
	if ours, err := x.containers(h); !ours || err != nil {
		if made && err == nil {
			return errReplaced
		}
		return err
	}
	return x.attributes(h, mode, head)
}

func (x *unpacking) file(parent int, base string, mode uint32, head *tar.Header) error {
	h, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(h), head.Name)
	_, err = io.Copy(f, x.tar)
	if err == nil {
		err = x.attributes(h, mode, head)
	}
	return errors.Join(err, f.Close())
}

// link makes a hard link to an earlier entry.
func (x *unpacking) link(parent int, base string, head *tar.Header) error {
	target := path.Join(x.top, path.Clean("/"+head.Linkname))
	dir, err := x.Root.Open(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer fd.Close(dir)
	return unix.Linkat(dir, path.Base(target), parent, base, 0)
}
