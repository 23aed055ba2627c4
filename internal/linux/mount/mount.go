// Package mount builds mounts with the kernel's file-descriptor interface
// (fsopen, open_tree, mount_setattr, move_mount) and finds their targets inside
// an untrusted root.
//
// Invariants: a mount gets all its attributes while it is detached, so nobody
// ever sees it without them; a mount is attached to a handle, never to a path
// that someone could swap meanwhile; no target outside the root can be reached.
// Linux 5.12 or newer is needed for mount_setattr.
package mount

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

// Detached is a mount that is in no mount namespace yet, or, after Attach, a
// handle on its root. Close gives up the handle; a mount that was never
// attached vanishes then.
type Detached struct{ fd int }

// FD is the handle's descriptor; it stays the Detached's.
func (d *Detached) FD() int { return d.fd }

// Close gives up the handle. It may be called twice.
func (d *Detached) Close() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd) // an O_PATH-like handle has nothing to flush
		d.fd = -1
	}
}

// FromFD makes a Detached of a descriptor that another process built and sent.
func FromFD(fd int) *Detached { return &Detached{fd: fd} }

// New makes a mount of a new filesystem. data are the filesystem's own options
// ("key=value" or "flag"); attrs are MOUNT_ATTR_*; sbFlags are the superblock's
// generic flags by name, such as "ro" or "sync".
func New(fsType, source string, sbFlags, data []string, attrs int) (*Detached, error) {
	ctx, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open filesystem %s: %w", fsType, err)
	}
	defer func() { _ = unix.Close(ctx) }() // a configuration context has nothing to flush
	if source != "" {
		// Not every filesystem has a source; those that have none name themselves.
		if err := unix.FsconfigSetString(ctx, "source", source); err != nil {
			return nil, explain(ctx, fmt.Errorf("set source %q: %w", source, err))
		}
	}
	for _, flag := range sbFlags {
		if err := unix.FsconfigSetFlag(ctx, flag); err != nil {
			return nil, explain(ctx, fmt.Errorf("set option %q: %w", flag, err))
		}
	}
	for _, option := range data {
		if err := setOption(ctx, option); err != nil {
			return nil, explain(ctx, fmt.Errorf("set option %q: %w", option, err))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, explain(ctx, fmt.Errorf("create filesystem %s: %w", fsType, err))
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, explain(ctx, fmt.Errorf("mount filesystem %s: %w", fsType, err))
	}
	return &Detached{fd}, nil
}

func setOption(ctx int, option string) error {
	key, value, ok := strings.Cut(option, "=")
	if !ok {
		return unix.FsconfigSetFlag(ctx, key)
	}
	return unix.FsconfigSetString(ctx, key, value)
}

// explain adds what the kernel wrote into the context's message log.
func explain(ctx int, err error) error {
	buf := make([]byte, 1024)
	for {
		n, rerr := unix.Read(ctx, buf)
		if rerr != nil || n <= 0 {
			return err
		}
		err = fmt.Errorf("%w (%s)", err, strings.TrimSpace(string(buf[:n])))
	}
}

// Clone makes a mount that shows what is at path (relative to dirfd; "" is
// dirfd itself), with everything mounted below it if recursive.
func Clone(dirfd int, path string, recursive bool) (*Detached, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dirfd, path, flags)
	if err != nil {
		return nil, fmt.Errorf("clone mount tree: %w", err)
	}
	return &Detached{fd}, nil
}

// CloneBeneath is Clone of what lies at name below the directory handle root,
// whatever links say.
func CloneBeneath(root int, name string, recursive bool) (*Detached, error) {
	h, err := RootAt(root).OpenBeneath(name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(h) }() // only a handle
	return Clone(h, "", recursive)
}

// Attr is a change of a mount's attributes.
type Attr struct {
	Set, Clear  uint64 // MOUNT_ATTR_*
	Propagation uint64 // MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE; 0 leaves it
	UserNS      int    // with MOUNT_ATTR_IDMAP in Set
}

// Kernel is the change as mount_setattr(2) takes it.
func (a Attr) Kernel() unix.MountAttr {
	if a.Set&(unix.MOUNT_ATTR__ATIME|unix.MOUNT_ATTR_RELATIME) != 0 {
		a.Clear |= unix.MOUNT_ATTR__ATIME // the atime bits are one enumeration
	}
	return unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear, Propagation: a.Propagation, Userns_fd: uint64(a.UserNS)}
}

// SetAttr changes the mount, with all below it if recursive.
func (d *Detached) SetAttr(a Attr, recursive bool) error { return SetAttr(d.fd, a, recursive) }

// MapIDs shows the owners of files as the mappings of a user namespace translate
// them: what they map to instead of what they map from. The mount must not be
// attached yet. A filesystem that cannot do it gives errs.Unsupported.
func (d *Detached) MapIDs(userNS int, recursive bool) error {
	err := d.SetAttr(Attr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: userNS}, recursive)
	if errors.Is(err, unix.EINVAL) {
		return errs.New(errs.Unsupported, "the filesystem does not support mapped ids: %w", err)
	}
	return err
}

// SetAttr changes the mount whose root is the handle fd.
func SetAttr(fd int, a Attr, recursive bool) error {
	if a.Set == 0 && a.Clear == 0 && a.Propagation == 0 {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := a.Kernel()
	if err := unix.MountSetattr(fd, "", flags, &attr); err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}

// Attach puts the mount on top of the handle target. Afterwards d is a handle
// on the mount's root as seen in the namespace.
func (d *Detached) Attach(target int) error {
	err := unix.MoveMount(d.fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	return nil
}

// AttachIn is Attach to the entry name of a directory that nobody else can see
// yet, a new mount of the caller's.
func (d *Detached) AttachIn(dir *Detached, name string) error {
	if err := unix.MoveMount(d.fd, "", dir.fd, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	return nil
}

// Detach takes an attached mount away again; clones of it stay.
func (d *Detached) Detach() error {
	if err := unix.Unmount(fmt.Sprintf("/proc/thread-self/fd/%d", d.fd), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach mount: %w", err)
	}
	return nil
}

// Pivot makes newRoot, the root of a mount, the root of the calling process's
// mount namespace and lets go of everything else. The working directory is the
// new root then.
func Pivot(newRoot int) error {
	if err := unix.Fchdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open old root: %w", err)
	}
	defer func() { _ = unix.Close(old) }() // only a handle
	// Stacking the old root over the new one needs no directory inside it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Fchdir(old); err != nil {
		return fmt.Errorf("enter old root: %w", err)
	}
	// The unmounting must not reach the host through shared mounts.
	if err := SetAttr(old, Attr{Propagation: unix.MS_SLAVE}, true); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	return nil
}

// ChangeRoot makes a directory the root directory of the calling thread, or of its
// process, without touching the mount namespace, which may be others' too. It is
// the weakest of the three: who may change root once more can get out.
func ChangeRoot(newRoot int) error {
	if err := unix.Fchdir(newRoot); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	return changeRoot()
}

func changeRoot() error {
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return unix.Chdir("/")
}

// NewDetached is New for parsed options; attrs replaces o.Set.
func NewDetached(fsType, source string, o Options, attrs int) (*Detached, error) {
	flags := o.Superblock
	if attrs&unix.MOUNT_ATTR_RDONLY != 0 && !pseudo[fsType] {
		flags = append(append([]string(nil), flags...), "ro") // a read-only device cannot be mounted otherwise
	}
	return New(fsType, source, flags, o.Data, attrs)
}

// pseudo filesystems have no device that could be read-only.
var pseudo = map[string]bool{
	"proc": true, "sysfs": true, "tmpfs": true, "devpts": true, "mqueue": true, "cgroup": true, "cgroup2": true,
}

// maxPage is the longest option string that mount(2) takes, without its NUL byte.
const maxPage = 4095

// NewAt makes a filesystem on the directory handle target, which must be
// reachable by its path in the caller's namespace. Unlike New it takes long
// overlay options. The caller's thread may end up with / as its working
// directory, so it must not share that with others that care.
func NewAt(target int, fsType, source string, o Options) (*Detached, error) {
	if fsType == "overlay" {
		if data := joined(o.Data); len(data) <= maxPage {
			return legacyAt(target, fsType, source, data, o)
		}
		if dir, short := shortenLayers(o.Data); dir != "" {
			if data := joined(short); len(data) <= maxPage {
				if err := unix.Chdir(dir); err != nil {
					return nil, fmt.Errorf("enter directory of layers: %w", err)
				}
				defer func() { _ = unix.Chdir("/") }() // there is always a root
				return legacyAt(target, fsType, source, data, o)
			}
		}
		o.Data = splitLayers(o.Data)
	}
	d, err := NewDetached(fsType, source, o, int(o.Set))
	if err != nil {
		return nil, err
	}
	if err := d.Attach(target); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// shortenLayers makes the paths of an overlay's layers relative to the directory
// that all of them are in; "" if there is none.
func shortenLayers(data []string) (dir string, short []string) {
	short = append(short, data...)
	for i, option := range data {
		list, ok := strings.CutPrefix(option, "lowerdir=")
		if !ok {
			continue
		}
		if strings.Contains(list, "\\") { // an escaped colon is part of a name
			return "", nil
		}
		layers := strings.Split(list, ":")
		for dir = parentDir(layers[0]); dir != "/"; dir = parentDir(dir) {
			if !slices.ContainsFunc(layers, func(l string) bool { return !strings.HasPrefix(l, dir+"/") }) {
				break
			}
		}
		for n := range layers {
			layers[n] = strings.TrimPrefix(layers[n], strings.TrimSuffix(dir, "/")+"/")
		}
		short[i] = "lowerdir=" + strings.Join(layers, ":")
	}
	return dir, short
}

// splitLayers turns lowerdir=a:b into lowerdir+=a, lowerdir+=b (Linux 6.7),
// each of which may be as long as one value.
func splitLayers(data []string) []string {
	var out []string
	for _, option := range data {
		layers, ok := strings.CutPrefix(option, "lowerdir=")
		if !ok {
			out = append(out, option)
			continue
		}
		for _, layer := range strings.Split(layers, ":") {
			out = append(out, "lowerdir+="+layer)
		}
	}
	return out
}

// legacyAt uses mount(2), whose option values may be longer than fsconfig's.
func legacyAt(target int, fsType, source, data string, o Options) (*Detached, error) {
	place := fmt.Sprintf("/proc/self/fd/%d", target)
	flags := uintptr(0)
	if o.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(source, place, fsType, flags, data); err != nil {
		return nil, fmt.Errorf("mount filesystem %s: %w", fsType, err)
	}
	// The handle is still what lies below; ".." and back would cross into the new
	// mount only by name, so the path behind the handle is looked up again.
	name, err := pathOf(target)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mounted %s: %w", name, err)
	}
	d := &Detached{fd}
	if err := d.SetAttr(Attr{Set: o.Set &^ unix.MOUNT_ATTR_RDONLY, Clear: o.Clear}, false); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func pathOf(fd int) (string, error) {
	return readlinkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd))
}

// MakeHolderPrivate makes the mount that holds path private, so that what is
// mounted on path does not appear on the host.
func MakeHolderPrivate(path string) error {
	for dir := path; ; {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BASIC_STATS, &st); err != nil {
			return fmt.Errorf("find mount of %s: %w", path, err)
		}
		if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 || dir == "/" {
			if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mount %s private: %w", dir, err)
			}
			return nil
		}
		dir = parentDir(dir)
	}
}

func parentDir(dir string) string {
	if i := strings.LastIndexByte(strings.TrimRight(dir, "/"), '/'); i > 0 {
		return dir[:i]
	}
	return "/"
}
