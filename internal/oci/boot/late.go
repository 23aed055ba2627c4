package boot

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
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

// coverings are what hides paths of procfs: files by a null device, directories
// by an empty one. Of what kind a path is shows in the machine's procfs, or else
// when one of them fits.
//
// The mounts are made by the process, for paths that are there: a mount that is
// given up without having been attached costs a grace period of RCU, as much as
// all other calls together.
type coverings struct {
	names []string
	null  int // number of the container's null device, -1: it has none
	// empty is the number of a mounted empty directory, -1: there is none yet.
	empty int
	// nulls are mounts of the machine's null device, one for each name, if the
	// container has none.
	nulls []int
}

// coverLater makes ready what hides paths that are not there yet. empty is an
// attached empty directory, or nil.
func (b *initializer) coverLater(names []string, empty *mount.Detached) (err error) {
	if len(names) == 0 {
		return nil
	}
	c := coverings{names: names, null: -1, empty: -1}
	if empty != nil {
		if c.empty, err = b.thread.lend(empty.FD()); err != nil {
			return err
		}
	}
	null, own, err := b.nullDevice()
	if err != nil {
		return err
	}
	c.null = b.thread.give(null)
	for range names {
		if own {
			break
		}
		d, err := mount.Clone(null, "", false)
		if err != nil {
			return err
		}
		c.nulls = append(c.nulls, b.thread.give(d.FD()))
	}
	b.thread.covers = c
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
		defer fd.Close(h)
		dir, err = mount.IsDir(h)
		return dir, err == nil
	}
	return false, false
}

// addCovers adds the hiding of paths of procfs.
func (b *initializer) addCovers(s script, root int, ctx, made, at bare.Slot) {
	c := b.thread.covers
	clone := func(what string, source int) {
		s.call(what, unix.SYS_OPEN_TREE, bare.Int(source), s.String(""), bare.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)).Into(made)
	}
	for i, name := range c.names {
		what := "mask " + name
		open := s.openIn(what, root, name, at)
		before := s.Len()
		isDir, known := b.kindInProc(name)
		var file *bare.Call
		switch {
		case known && isDir:
		case len(c.nulls) > 0:
			file = s.attach(what, bare.Int(c.nulls[i]), at.Value(), "")
		default:
			clone(what, c.null)
			file = s.attach(what, made.Value(), at.Value(), "")
		}
		if !known || isDir {
			attached := s.Len()
			if c.empty >= 0 {
				clone(what, c.empty)
			} else {
				s.newMount(what, "tmpfs", "tmpfs", nil, b.withContext(emptyDirOptions), unix.MOUNT_ATTR_RDONLY, ctx, made)
			}
			s.attach(what, made.Value(), at.Value(), "")
			if file != nil {
				file.Tolerate(unix.EINVAL, 0).IfZero(s.Len() - attached) // EINVAL: it is a directory
			}
		}
		open.Tolerate(unix.ENOENT, s.Len()-before)
	}
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
		s.attach(what, made.Value(), bare.Int(g.target), g.name)
	}
	for _, m := range t.procs {
		o := m.mount.Options
		what := fmt.Sprintf("error mounting %q to rootfs at %q", m.mount.Source, m.mount.Target)
		s.newMount(what, m.mount.Type, m.mount.Source, o.Superblock, o.Data, o.Set, ctx, made)
		s.setAttr(what, made, mount.Attr{Set: o.RecSet, Clear: o.RecClear}, true)
		s.setAttr(what, made, mount.Attr{Propagation: o.Propagation}, o.RecPropagation)
		s.attach(what, made.Value(), bare.Int(m.target), "")
	}
	if len(t.readOnly)+len(t.covers.names) == 0 {
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
		s.attach(what, made.Value(), at.Value(), "")
		open.Tolerate(unix.ENOENT, s.Len()-before)
	}
	b.addCovers(s, root, ctx, made, at)
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
func (s script) attach(what string, made, target bare.Arg, name string) *bare.Call {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if name == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	return s.call(what, unix.SYS_MOVE_MOUNT, made, s.String(""), target, s.String(name), bare.Int(flags))
}

// openIn adds the opening of a path of the container's, whose root has the number
// root; as mount.Root.Open.
func (s script) openIn(what string, root int, name string, at bare.Slot) *bare.Call {
	return s.call(what, unix.SYS_OPENAT2, bare.Int(root), s.String(strings.TrimLeft(name, "/")),
		s.Words(unix.O_PATH|unix.O_CLOEXEC, 0, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS), bare.Int(unix.SizeofOpenHow)).Into(at)
}
