package boot

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// mountCgroup shows the container its own cgroups: on v2 the unified hierarchy,
// else a tmpfs with one directory for each v1 hierarchy. In a cgroup namespace
// the filesystem itself is mounted, whose root is the container's group then;
// otherwise the group's directory is bound.
func (b *initializer) mountCgroup(m plan.Mount) ([]laterReadOnly, error) {
	r := b.plan.Root
	target, err := b.root.OpenOrCreate(m.Target, true)
	if err != nil {
		return nil, err
	}
	defer fd.Close(target)
	if len(r.CgroupDirs) == 0 && r.CgroupUnified == "" {
		return nil, nil // a user who may have none: the directory stays as it is
	}
	attrs := m.Options.Set
	if len(r.CgroupDirs) == 0 && b.thread != nil && b.plan.NewCgroupNS {
		n, err := b.thread.lend(target)
		b.thread.groups = append(b.thread.groups, lateGroup{kind: "cgroup2", target: n, attrs: attrs, attach: m.Options})
		return nil, err
	}
	if len(r.CgroupDirs) == 0 {
		d, err := b.cgroupView("cgroup2", nil, r.CgroupUnified, attrs)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		if err := d.SetAttr(mount.Attr{Propagation: m.Options.Propagation}, m.Options.RecPropagation); err != nil {
			return nil, err
		}
		return nil, d.Attach(target)
	}
	top, err := mount.New("tmpfs", "tmpfs", nil, b.withContext([]string{"mode=755"}), int(attrs&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return nil, err
	}
	if err := top.Attach(target); err != nil {
		top.Close()
		return nil, err
	}
	if err := b.fillCgroupDir(top, attrs); err != nil {
		top.Close()
		return nil, err
	}
	if attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		return []laterReadOnly{{top, m.Target}}, nil
	}
	top.Close()
	return nil, nil
}

func (b *initializer) fillCgroupDir(top *mount.Detached, attrs uint64) error {
	shared := map[string][]string{} // directory → the controllers mounted together there
	for _, controller := range slices.Sorted(maps.Keys(b.plan.Root.CgroupDirs)) {
		dir := b.plan.Root.CgroupDirs[controller]
		shared[dir] = append(shared[dir], controller)
	}
	for _, dir := range slices.Sorted(maps.Keys(shared)) {
		controllers := shared[dir]
		name := strings.TrimPrefix(strings.Join(controllers, ","), "name=")
		if err := b.mountHierarchy(top, name, controllers, dir, attrs); err != nil {
			return fmt.Errorf("mount cgroup hierarchy %s: %w", name, err)
		}
		if len(controllers) > 1 {
			for _, controller := range controllers {
				if err := unix.Symlinkat(name, top.FD(), controller); err != nil {
					return fmt.Errorf("link cgroup hierarchy %s: %w", controller, err)
				}
			}
		}
	}
	return nil
}

func (b *initializer) mountHierarchy(top *mount.Detached, name string, controllers []string, dir string, attrs uint64) error {
	if err := unix.Mkdirat(top.FD(), name, 0o755); err != nil {
		return err
	}
	if b.thread != nil && b.plan.NewCgroupNS {
		n, err := b.thread.lend(top.FD())
		b.thread.groups = append(b.thread.groups, lateGroup{kind: "cgroup", target: n, name: name, options: controllers, attrs: attrs})
		return err
	}
	d, err := b.cgroupView("cgroup", controllers, dir, attrs)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.AttachIn(top, name)
}

// cgroupView is a mount of a hierarchy that shows no more than the container's group.
func (b *initializer) cgroupView(kind string, controllers []string, dir string, attrs uint64) (*mount.Detached, error) {
	if b.plan.NewCgroupNS {
		d, err := mount.New(kind, kind, nil, controllers, int(attrs))
		if err == nil || !b.plan.UserNS {
			return d, err
		}
	}
	if b.thread != nil {
		if _, err := b.thread.Ready(); err != nil {
			return nil, err
		}
	}
	d, err := mount.Clone(unix.AT_FDCWD, dir, false)
	if err != nil {
		return nil, err
	}
	if err = d.SetAttr(mount.Attr{Set: attrs}, false); err == nil {
		err = b.cutOff(d)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}
