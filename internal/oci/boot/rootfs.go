package boot

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// build makes the container around this process.
func (b *initializer) build() error {
	p := &b.plan
	if p.NewCgroupNS && b.thread == nil {
		// Only now, inside its cgroup: the namespace's root is where its maker is.
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("create cgroup namespace: %w", err)
		}
	}
	if p.NewTimeNS {
		if err := b.newTimeNS(); err != nil {
			return err
		}
	}
	if p.LoopbackUp {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	openRoot, enterRoot := b.openRoot, mount.Pivot
	switch {
	case p.Root.Shared:
		openRoot, enterRoot = b.openSharedRoot, mount.ChangeRoot
	case p.Root.NoPivot:
		enterRoot = mount.MoveRoot
	}
	if err := openRoot(); err != nil {
		return err
	}
	if err := b.fillRoot(); err != nil {
		return err
	}
	if err := b.parentHooks(); err != nil {
		return err
	}
	if len(p.Hooks.Create) > 0 {
		if err := unix.Fchdir(b.root.FD()); err != nil { // hooks in the field count on it
			return fmt.Errorf("enter root: %w", err)
		}
	}
	if err := b.runHooks("createContainer", p.Hooks.Create); err != nil {
		return err
	}
	if err := b.hideRoot(); err != nil {
		return err
	}
	if err := b.settings(); err != nil {
		return err
	}
	if err := enterRoot(b.root.FD()); err != nil {
		return err
	}
	// In a namespace of its own all mounts have got theirs already.
	if r := p.Root; r.Propagation == unix.MS_SHARED || r.Shared && r.Propagation == unix.MS_UNBINDABLE {
		if err := mount.SetAttr(b.root.FD(), mount.Attr{Propagation: r.Propagation}, r.RecProp); err != nil {
			return fmt.Errorf("set propagation of root: %w", err)
		}
	}
	return nil
}

// newTimeNS makes a time namespace that execve enters (Linux 6.3). It serves in
// a new user namespace only; else the parent makes it.
func (b *initializer) newTimeNS() error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("create time namespace: %w", err)
	}
	if b.plan.UserNS && len(b.plan.TimeOffsets) > 0 {
		// Files of a process that is not dumpable belong to the machine's root.
		// Nobody else is in the namespaces yet.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set dumpable: %w", err)
		}
		defer func() { _ = process.Undumpable() }() // it worked before
	}
	text := plan.OffsetsText(b.plan.TimeOffsets)
	if text == "" {
		return nil
	}
	return b.writeProc("self/timens_offsets", text)
}

// openRoot mounts the root filesystem, which makes it the mount point that
// pivot_root wants, out of reach of the host.
func (b *initializer) openRoot() error {
	r := b.plan.Root
	host, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	defer fd.Close(host)
	if err := mount.SetAttr(host, mount.Attr{Propagation: r.Propagation}, r.RecProp); err != nil {
		return fmt.Errorf("set propagation of /: %w", err)
	}
	if r.Propagation != unix.MS_SLAVE && r.Propagation != unix.MS_PRIVATE {
		if err := mount.MakeHolderPrivate(r.Path); err != nil {
			return err
		}
	}
	if r.FD > 0 {
		d := mount.FromFD(r.FD)
		b.root = mount.RootAt(d.FD())
		return d.Attach(host) // over the old root: any place does until pivot_root
	}
	d, err := attachRoots(r, mount.IDs{})
	if err != nil {
		return err
	}
	b.root = mount.RootAt(d.FD())
	return nil
}

// attachRoots makes the mounts on the root's path and returns the last one. ids are
// for those that are to have mapped ones.
func attachRoots(r *plan.Root, ids mount.IDs) (*mount.Detached, error) {
	mounts := r.Mounts
	if len(mounts) == 0 {
		mounts = []plan.RootMount{{Type: "bind", Source: r.Path, Options: mount.Options{Bind: true, Recursive: true}}}
	}
	var top *mount.Detached
	for _, m := range mounts {
		d, err := attachRoot(r.Path, m, ids, r.Slave)
		if top != nil {
			top.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("mount root filesystem %s: %w", r.Path, err)
		}
		top = d
	}
	return top, nil
}

func attachRoot(dir string, m plan.RootMount, ids mount.IDs, slave bool) (*mount.Detached, error) {
	target, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer fd.Close(target)
	o := m.Options
	if m.Type == "bind" || o.Bind {
		d, err := mount.Clone(unix.AT_FDCWD, m.Source, o.Recursive)
		if err != nil {
			return nil, err
		}
		a := mount.Attr{Set: o.Set, Clear: o.Clear, Propagation: unix.MS_PRIVATE} // pivot_root refuses a shared root
		if slave {
			a.Propagation = unix.MS_SLAVE
		}
		err = d.SetAttr(a, false)
		if err == nil && o.IDMap {
			err = d.MapIDs(ids.Users, o.RecIDMap)
		}
		if err == nil {
			err = d.Attach(target)
		}
		if err != nil {
			d.Close()
			return nil, err
		}
		return d, nil
	}
	if o.IDMap {
		return mount.MappedOverlay(target, m.Source, o, ids)
	}
	return mount.NewAt(target, m.Type, m.Source, o)
}

// fillRoot makes all mounts and devices.
func (b *initializer) fillRoot() error {
	var later []laterReadOnly
	defer func() {
		for _, l := range later {
			l.mount.Close()
		}
	}()
	for _, m := range b.plan.Root.Targets {
		again, err := b.mountTarget(m)
		if err != nil {
			return fmt.Errorf("error mounting %q to rootfs at %q: %w", m.Source, m.Target, err)
		}
		later = append(later, again...)
	}
	if err := b.makeDevices(); err != nil {
		return err
	}
	if b.plan.Root.Mtab {
		b.linkMtab()
	}
	if dir := b.plan.Process.Cwd; b.plan.Process.CreateCwd && dir != "" {
		handle, err := b.root.OpenOrCreate(dir, true)
		// What is there but is no directory, or cannot be made, shows when it is entered.
		if err == nil {
			fd.Close(handle)
		}
	}
	if p := &b.plan.Process; p.Terminal && len(later) > 0 {
		// For bindConsole, which comes later; if it cannot be made that will tell.
		if handle, err := b.root.OpenOrCreate("/dev/console", false); err == nil {
			fd.Close(handle)
		}
	}
	for _, l := range later {
		if err := l.mount.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return fmt.Errorf("make %s read-only: %w", l.target, err)
		}
	}
	return nil
}

// laterReadOnly is a mount in which something must be made before it becomes
// read-only.
type laterReadOnly struct {
	mount  *mount.Detached
	target string
}

// plainTargets are filesystems that an image could redirect by a symlink to
// where their protection does not reach (CVE-2019-19921, CVE-2026-41579).
var plainTargets = map[string]bool{"proc": true, "sysfs": true}

func (b *initializer) mountTarget(m plan.Mount) ([]laterReadOnly, error) {
	if err := checkProcName(m); err != nil {
		return nil, err
	}
	if m.Type == "proc" && !m.Options.Bind && b.thread != nil {
		target, err := b.target(m, true)
		if err == nil {
			b.thread.procs = append(b.thread.procs, lateMount{m, b.thread.give(target)})
		}
		return nil, err
	}
	if m.Type == "cgroup" || m.Type == "cgroup2" {
		return b.mountCgroup(m)
	}
	if m.Type == "tmpfs" {
		m.Options.Data = b.inheritMode(m)
	}
	d, dir, err := b.makeMount(m)
	if err != nil {
		return nil, err
	}
	target, err := b.target(m, dir)
	if err != nil {
		d.Close()
		return nil, err
	}
	defer fd.Close(target)
	if err := b.checkProcTarget(m, d.FD(), target); err != nil {
		d.Close()
		return nil, err
	}
	if m.Options.CopyUp {
		if err := copyUp(b.proc, target, d.FD()); err != nil {
			d.Close()
			return nil, err
		}
	}
	if err := d.Attach(target); err != nil {
		d.Close()
		return nil, err
	}
	if m.Type == "tmpfs" && m.Options.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		return []laterReadOnly{{d, m.Target}}, nil
	}
	d.Close()
	return nil, nil
}

// inheritMode gives the options of a tmpfs, with the mode of the directory that it
// covers unless they have one.
func (b *initializer) inheritMode(m plan.Mount) []string {
	data := m.Options.Data
	if slices.ContainsFunc(data, func(s string) bool { return strings.HasPrefix(s, "mode=") }) {
		return data
	}
	dir, err := b.root.Open(m.Target, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return data // there is none
	}
	defer fd.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return data
	}
	return append(slices.Clip(data), fmt.Sprintf("mode=%o", st.Mode&0o7777))
}

// target finds or makes where m goes.
func (b *initializer) target(m plan.Mount, dir bool) (int, error) {
	if m.Target == "/" {
		return -1, errs.New(errs.InvalidArgument, "the root filesystem cannot be mounted over")
	}
	target, err := b.root.OpenOrCreate(m.Target, dir)
	if err != nil {
		return -1, err
	}
	if plainTargets[m.Type] || m.Target == "/dev" {
		plain, err := b.root.OpenNoLinks(m.Target, unix.O_PATH|unix.O_DIRECTORY)
		fd.Close(target)
		if errors.Is(err, unix.ELOOP) {
			return -1, errs.New(errs.InvalidArgument, "filesystem %q must be mounted on ordinary directory", m.Target)
		}
		return plain, err
	}
	isDir, err := mount.IsDir(target)
	if err == nil && isDir != dir {
		err = unix.ENOTDIR // one of the two
	}
	if err != nil {
		fd.Close(target)
		return -1, err
	}
	return target, nil
}

// makeMount builds the detached mount and tells whether it is a directory.
func (b *initializer) makeMount(m plan.Mount) (d *mount.Detached, dir bool, err error) {
	o := m.Options
	if m.FD > 0 {
		h := m.FD
		if b.thread != nil { // it is the caller's
			if h, err = fd.Duplicate(h); err != nil {
				return nil, false, err
			}
		}
		d = mount.FromFD(h)
		dir, err = mount.IsDir(d.FD())
		return d, dir, err
	}
	if o.Bind {
		return bindMount(m.Source, o, b.hostPropagation())
	}
	attrs := int(o.Set)
	if m.Type == "tmpfs" {
		attrs &^= unix.MOUNT_ATTR_RDONLY // see laterReadOnly
	}
	if !plainTargets[m.Type] && m.Type != "mqueue" {
		o.Data = b.withContext(o.Data)
	}
	d, err = mount.NewDetached(m.Type, m.Source, o, attrs)
	if err == nil && m.Type == "mqueue" {
		err = b.labelRoot(d)
	}
	if m.Type == "sysfs" && errors.Is(err, unix.EPERM) {
		// The network namespace belongs to another user namespace: show what is there.
		return bindMount("/sys", mount.Options{Bind: true, Recursive: true, RecSet: o.Set}, b.hostPropagation())
	}
	if err != nil {
		return nil, false, err
	}
	if o.Subpath != "" {
		if d, err = b.narrow(d, o.Subpath); err != nil {
			return nil, false, err
		}
	}
	if err = finishAttrs(d, o); err != nil {
		d.Close()
		return nil, false, err
	}
	dir = o.Subpath == ""
	if !dir {
		dir, err = mount.IsDir(d.FD())
	}
	return d, dir, err
}

// bindMount makes a bind mount. propagation is that of the whole tree, 0 to leave
// it; the options may demand another.
func bindMount(source string, o mount.Options, propagation uint64) (*mount.Detached, bool, error) {
	d, err := cloneSource(source, o)
	if err != nil {
		return nil, false, err
	}
	dir, err := mount.IsDir(d.FD())
	if err == nil {
		err = d.SetAttr(mount.Attr{Propagation: propagation}, true)
	}
	if err == nil {
		err = d.SetAttr(mount.Attr{Set: o.Set, Clear: o.Clear}, false)
	}
	if err == nil {
		err = finishAttrs(d, o)
	}
	if err != nil {
		d.Close()
	}
	return d, dir, err
}

func finishAttrs(d *mount.Detached, o mount.Options) error {
	if err := d.SetAttr(mount.Attr{Set: o.RecSet, Clear: o.RecClear}, true); err != nil {
		return err
	}
	return d.SetAttr(mount.Attr{Propagation: o.Propagation}, o.RecPropagation)
}

// parentHooks lets the parent run the hooks that belong to the host.
func (b *initializer) parentHooks() error {
	if !b.plan.Hooks.Runtime {
		return nil
	}
	return b.ask(FrameHooks, nil)
}

// hideRoot applies what takes away: read-only and masked paths, read-only root.
func (b *initializer) hideRoot() error {
	r := b.plan.Root
	for _, name := range r.ReadOnlyPaths {
		if b.thread.isLate(name) {
			b.thread.readOnly = append(b.thread.readOnly, name)
			continue
		}
		if err := b.readOnlyPath(name); err != nil {
			return fmt.Errorf("make %s read-only: %w", name, err)
		}
	}
	if err := b.maskPaths(r.Masked); err != nil {
		return err
	}
	if r.ReadOnly {
		if err := mount.SetAttr(b.root.FD(), mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return fmt.Errorf("make root read-only: %w", err)
		}
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

func (b *initializer) readOnlyPath(name string) error {
	target, err := b.root.Open(name, unix.O_PATH)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer fd.Close(target)
	d, err := mount.Clone(target, "", true)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
		return err
	}
	return d.Attach(target)
}

// maskPaths covers directories with one shared empty tmpfs and files with a
// null device that has been verified to be one (CVE-2025-31133).
func (b *initializer) maskPaths(names []string) error {
	var empty *mount.Detached
	null := -1
	defer func() {
		fd.Close(null)
		if empty != nil {
			empty.Close()
		}
	}()
	var late []string
	for _, name := range names {
		if b.thread.isLate(name) {
			late = append(late, name)
			continue
		}
		target, err := b.root.Open(name, unix.O_PATH)
		if missing(err) {
			continue
		}
		if err == nil {
			err = b.maskOne(target, &empty, &null)
			fd.Close(target)
		}
		if err != nil {
			return fmt.Errorf("mask %s: %w", name, err)
		}
	}
	if err := b.coverLater(late, empty); err != nil {
		return fmt.Errorf("mask %s: %w", strings.Join(late, ", "), err)
	}
	return nil
}

func (b *initializer) maskOne(target int, empty **mount.Detached, null *int) error {
	dir, err := mount.IsDir(target)
	if err != nil {
		return err
	}
	if dir && *empty == nil {
		d, err := mount.New("tmpfs", "tmpfs", nil, b.withContext(emptyDirOptions), unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			return err
		}
		*empty = d
		return d.Attach(target)
	}
	if dir {
		d, err := mount.Clone((*empty).FD(), "", false)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.Attach(target)
	}
	if *null < 0 {
		if *null, _, err = b.nullDevice(); err != nil {
			return err
		}
	}
	d, err := mount.Clone(*null, "", false)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := b.cutOff(d); err != nil { // it may be the machine's
		return err
	}
	return d.Attach(target)
}

// emptyDirOptions make a tmpfs in which there can be nothing.
var emptyDirOptions = []string{"nr_blocks=1", "nr_inodes=1"}

// nullDevice is a handle on the container's own /dev/null if it is one, else on
// the machine's.
func (b *initializer) nullDevice() (null int, own bool, err error) {
	h, err := b.root.Open("/dev/null", unix.O_PATH)
	if err == nil && mount.IsDevice(h, 1, 3) {
		return h, true, nil
	}
	if err == nil {
		fd.Close(h)
	}
	h, err = unix.Open("/dev/null", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, fmt.Errorf("open /dev/null: %w", err)
	}
	if !mount.IsDevice(h, 1, 3) {
		fd.Close(h)
		return -1, false, errors.New("open /dev/null: it is not the null device")
	}
	return h, false, nil
}

// settings are the names and kernel parameters of the container.
func (b *initializer) settings() error {
	p := &b.plan
	if p.Hostname != "" {
		if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
	}
	if p.Domainname != "" {
		if err := unix.Setdomainname([]byte(p.Domainname)); err != nil {
			return fmt.Errorf("set domainname: %w", err)
		}
	}
	for key, value := range p.Sysctl {
		if err := b.writeProc(path.Join("sys", plan.SysctlPath(key)), value); err != nil {
			return fmt.Errorf("set sysctl %s: %w", key, err)
		}
	}
	return nil
}
