package boot

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// lateMount is a procfs that the process mounts: it shows the PID namespace of
// its maker. target is the number of the place's descriptor there.
type lateMount struct {
	mount  plan.Mount
	target int
}

// lateGroup is a view of a cgroup hierarchy that the process mounts: it shows the
// cgroup namespace of its maker.
type lateGroup struct {
	kind    string
	options []string
	attrs   uint64
	target  int    // descriptor of the place, or of the directory that name is in
	name    string // "": target itself
	attach  mount.Options
}

// cover hides a path of procfs: by a file if there is one, by a directory if
// there is one. Of what kind the path is shows when one of them fits. The numbers
// are descriptors of mounts, -1 for none.
type cover struct {
	name      string
	file, dir int
}

// coverLater makes ready what hides a path that is not there yet. empty is an
// attached empty directory, if there is one.
func (b *initializer) coverLater(name string, empty *mount.Detached, null *int) (err error) {
	c := cover{name: name, file: -1, dir: -1}
	isDir, known := b.kindInProc(name)
	if !known || !isDir {
		if *null < 0 {
			if *null, err = b.nullDevice(); err != nil {
				return err
			}
		}
		d, err := mount.Clone(*null, "", false)
		if err != nil {
			return err
		}
		c.file = b.thread.give(d.FD())
	}
	if !known || isDir {
		var d *mount.Detached
		if empty != nil {
			d, err = mount.Clone(empty.FD(), "", false)
		} else {
			d, err = emptyDir()
		}
		if err != nil {
			return err
		}
		c.dir = b.thread.give(d.FD())
	}
	b.thread.covers = append(b.thread.covers, c)
	return nil
}

// kindInProc looks at the machine's procfs, where most files are of the same kind.
func (b *initializer) kindInProc(name string) (dir, known bool) {
	for _, m := range b.thread.procs {
		rel, ok := strings.CutPrefix(name, strings.TrimSuffix(m.mount.Target, "/")+"/")
		if !ok {
			continue
		}
		h, err := mount.RootAt(b.proc).OpenNoLinks(rel, unix.O_PATH)
		if err != nil {
			return false, false
		}
		b.thread.owned = append(b.thread.owned, h)
		dir, err = mount.IsDir(h)
		return dir, err == nil
	}
	return false, false
}

// addLate adds the mounts that the process makes, and what hides parts of them.
func (b *initializer) addLate(s script) error {
	t := b.thread
	if b.plan.NewCgroupNS {
		// Inside its cgroup: the namespace's root is where its maker is.
		s.call("create cgroup namespace", unix.SYS_UNSHARE, bare.Int(unix.CLONE_NEWCGROUP))
	}
	ctx, made, at := s.Slot(), s.Slot(), s.Slot()
	for _, g := range t.groups {
		what := "mount cgroup hierarchy " + strings.TrimPrefix(g.name+" "+g.kind, " ")
		s.newMount(what, g.kind, g.kind, nil, g.options, g.attrs, ctx, made)
		s.setAttr(what, made, mount.Attr{Propagation: g.attach.Propagation}, g.attach.RecPropagation)
		s.attach(what, made, bare.Int(g.target), g.name)
	}
	for _, m := range t.procs {
		o := m.mount.Options
		what := fmt.Sprintf("error mounting %q to rootfs at %q", m.mount.Source, m.mount.Target)
		s.newMount(what, m.mount.Type, m.mount.Source, o.Superblock, o.Data, o.Set, ctx, made)
		s.setAttr(what, made, mount.Attr{Set: o.RecSet, Clear: o.RecClear}, true)
		s.setAttr(what, made, mount.Attr{Propagation: o.Propagation}, o.RecPropagation)
		s.attach(what, made, bare.Int(m.target), "")
	}
	if len(t.readOnly)+len(t.covers) == 0 {
		return nil
	}
	root, err := t.lend(b.root.FD())
	if err != nil {
		return err
	}
	for _, name := range t.readOnly {
		what := "make " + name + " read-only"
		open := s.openIn(what, root, name, at)
		before := s.Len()
		s.call(what, unix.SYS_OPEN_TREE, at.Value(), s.String(""), bare.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)).Into(made)
		s.setAttr(what, made, mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false)
		s.attach(what, made, at.Value(), "")
		open.Tolerate(unix.ENOENT, s.Len()-before)
	}
	for _, c := range t.covers {
		what := "mask " + c.name
		open := s.openIn(what, root, c.name, at)
		before := s.Len()
		if c.file >= 0 {
			attach := s.attachFD(what, c.file, at)
			if c.dir >= 0 {
				attach.Tolerate(unix.EINVAL, 0).IfZero(1)
			}
		}
		if c.dir >= 0 {
			s.attachFD(what, c.dir, at)
		}
		open.Tolerate(unix.ENOENT, s.Len()-before)
	}
	return nil
}

// sizeofMountAttr is the size of the first version of struct mount_attr.
const sizeofMountAttr = 32

// newMount adds the making of a filesystem, as mount.New.
func (s script) newMount(what, kind, source string, flags, options []string, attrs uint64, ctx, made bare.Slot) {
	set := func(command int, key, value bare.Arg) {
		s.call(what, unix.SYS_FSCONFIG, ctx.Value(), bare.Int(command), key, value, bare.Int(0))
	}
	null := bare.Int(0)
	s.call(what, unix.SYS_FSOPEN, s.String(kind), bare.Int(unix.FSOPEN_CLOEXEC)).Into(ctx)
	if source != "" {
		set(unix.FSCONFIG_SET_STRING, s.String("source"), s.String(source))
	}
	for _, flag := range flags {
		set(unix.FSCONFIG_SET_FLAG, s.String(flag), null)
	}
	for _, option := range options {
		if key, value, ok := strings.Cut(option, "="); ok && key != "" {
			set(unix.FSCONFIG_SET_STRING, s.String(key), s.String(value))
		} else {
			set(unix.FSCONFIG_SET_FLAG, s.String(option), null)
		}
	}
	set(unix.FSCONFIG_CMD_CREATE, null, null)
	s.call(what, unix.SYS_FSMOUNT, ctx.Value(), bare.Int(unix.FSMOUNT_CLOEXEC), bare.Int(attrs)).Into(made)
}

// setAttr adds the changing of a mount's attributes, as mount.SetAttr.
func (s script) setAttr(what string, made bare.Slot, a mount.Attr, recursive bool) {
	if a == (mount.Attr{}) {
		return
	}
	flags := unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	k := a.Kernel()
	s.call(what, unix.SYS_MOUNT_SETATTR, made.Value(), s.String(""), bare.Int(flags),
		s.Words(k.Attr_set, k.Attr_clr, k.Propagation, k.Userns_fd), bare.Int(sizeofMountAttr))
}

// attach adds the putting of a mount on a place, or on a name in it.
func (s script) attach(what string, made bare.Slot, target bare.Arg, name string) {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if name == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	s.call(what, unix.SYS_MOVE_MOUNT, made.Value(), s.String(""), target, s.String(name), bare.Int(flags))
}

func (s script) attachFD(what string, made int, target bare.Slot) *bare.Call {
	return s.call(what, unix.SYS_MOVE_MOUNT, bare.Int(made), s.String(""), target.Value(), s.String(""),
		bare.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// openIn adds the opening of a path of the container's, whose root has the number
// root; as mount.Root.Open.
func (s script) openIn(what string, root int, name string, at bare.Slot) *bare.Call {
	return s.call(what, unix.SYS_OPENAT2, bare.Int(root), s.String(strings.TrimLeft(name, "/")),
		s.Words(unix.O_PATH|unix.O_CLOEXEC, 0, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS), bare.Int(unix.SizeofOpenHow)).Into(at)
}
