package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/criu"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci/boot"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

const restoreLog = "restore.log"

// Restore makes a container of what Checkpoint has written; it runs when Restore
// returns. The caller reaps its first process.
func (r *Runtime) Restore(ctx context.Context, id string, o CreateOptions, from CheckpointOptions) (_ *Container, _ *Process, err error) {
	c, job, err := r.plan(id, o, false)
	if err != nil {
		return nil, nil, err
	}
	if err := c.restorable(c.state.Dump); err != nil {
		return nil, nil, err
	}
	if l := job.spec.Linux; l != nil && (l.IntelRdt != nil || len(l.NetDevices) > 0) {
		return nil, nil, errs.New(errs.Unsupported, "a container with intelRdt or netDevices cannot be restored")
	}
	done, err := from.open(restoreLog, false)
	if err != nil {
		return nil, nil, err
	}
	// What is read from there is read now; criu gets handles of its own, see prepare.
	names, err := loadDescriptors(from.CRIU.Images)
	var images unix.Stat_t
	if err == nil {
		err = unix.Fstat(from.CRIU.Images, &images)
	}
	if gid, ok := job.rootGroup(); ok && err == nil {
		err = showImages(from.CRIU.Images, gid)
	}
	done()
	if err != nil {
		return nil, nil, fmt.Errorf("read checkpoint %s: %w", from.Images, err)
	}
	var undo cleanup.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.Run())
		}
	}()
	if err := c.claim(&undo); err != nil {
		return nil, nil, err
	}
	v := &revival{container: c, job: job, from: &from, streams: names, images: images, process: &Process{}, child: ns.Child{PidFD: -1}, early: ns.Child{PidFD: -1}, done: func() {}}
	if err := v.run(&undo); err != nil {
		return nil, nil, fmt.Errorf("restore container %q: %w", id, err)
	}
	undo.Release()
	c.runHostHooks(ctx, "poststart", c.state.Poststart, specs.StateRunning)
	return c, v.process, nil
}

// rootGroup is the group of root of a user namespace that is the container's own, as
// it is known outside.
func (job *creation) rootGroup() (int, bool) {
	if !job.plan.UserNS {
		return 0, false
	}
	for _, m := range job.spec.Linux.GIDMappings {
		if m.ContainerID == 0 && m.Size > 0 {
			return int(m.HostID), true
		}
	}
	return 0, false
}

// showImages lets a group read the images: what is restored in a user namespace reads
// them with the rights of that namespace's root, whose memory they are.
func showImages(images, gid int) error {
	dir, err := fd.OpenIn(images, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // read only
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := fd.OpenIn(images, name, unix.O_RDONLY)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
			continue // no file, or the link to the images of a pre-dump
		}
		if err != nil {
			return err
		}
		if err := errors.Join(showTo(f, gid, 0o040), f.Close()); err != nil {
			return err
		}
	}
	return showTo(dir, gid, 0o050)
}

func showTo(f *os.File, gid int, mode os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(-1, gid), f.Chmod(info.Mode().Perm()|mode))
}

// revival is the restoring of one container. criu runs in the container's cgroup,
// which what it restores inherits, and in a mount namespace of its own, in which
// the root filesystem is the mount point that criu wants.
type revival struct {
	container *Container
	job       *creation
	from      *CheckpointOptions
	streams   []string    // what the standard streams were
	images    unix.Stat_t // of the directory that was checked
	process   *Process
	child     ns.Child // until process has it
	early     ns.Child // what is to become it; criu's failure leaves it to us, as well as ours
	extra     []int    // descriptors for criu
	done      func()   // closes the directories
}

func (v *revival) run(undo *cleanup.Stack) error {
	c, job := v.container, v.job
	limits, err := buildResources(job.resources, c.state.Cgroup.V2())
	if err != nil {
		return err
	}
	devices, err := c.deviceRules(job.resources)
	if err != nil {
		return err
	}
	c.state.LatePids, limits.PidsLimit = limits.PidsLimit, nil // criu is in the group, too
	ground, err := c.layGround(job.spec, limits, devices)
	defer func() { ground.hold.Release(); ground.door.Close() }() // what there is of it
	if ground.ours {
		undo.Push(c.state.Cgroup.Remove)
	}
	if err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return v.kill() })
	rootFD, err := boot.PrepareRoot(job.plan.Root, mount.IDs{})
	if err != nil {
		return err
	}
	defer fd.Close(rootFD)
	defer func() { closeAll(v.extra); v.done() }()
	if err := v.configure(mount.RootAt(rootFD)); err != nil {
		return err
	}
	run := &criu.Process{Program: v.from.Criu, Extra: v.extra, Cgroup: ground.door.Unified()}
	run.Prepare = func() error { return v.prepare(ground.door, rootFD) }
	if !job.plan.Process.Terminal {
		run.Files = [3]*os.File{job.options.IO.Stdin, job.options.IO.Stdout, job.options.IO.Stderr}
	}
	if err := run.Run(criu.Restore, &v.from.CRIU, v.notify); err != nil {
		return err
	}
	if v.child.PidFD < 0 {
		return errors.New("criu has not told which process it restored")
	}
	if err := c.setLateLimits(); err != nil {
		return err
	}
	fd.Close(v.early.PidFD)
	v.early.PidFD = -1
	v.process.Pid, v.process.PidFD = v.child.Pid, os.NewFile(uintptr(v.child.PidFD), "pidfd")
	return nil
}

// prepare makes the calling thread one from which criu can be forked. The
// directories are opened there: criu makes mounts in its working directory, which
// must be one of its own mount namespace.
func (v *revival) prepare(door *cgroup.Door, rootFD int) (err error) {
	if err := door.EnterV1(); err != nil {
		return err
	}
	if err := attachRoot(rootFD, v.job.plan.Root.Path); err != nil {
		return err
	}
	if v.done, err = v.from.open(restoreLog, false); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(v.from.CRIU.Images, &st); err != nil {
		return err
	}
	if st.Dev != v.images.Dev || st.Ino != v.images.Ino {
		return errs.New(errs.Conflict, "the directory of the checkpoint has been replaced")
	}
	return nil
}

// attachRoot gives the calling thread a mount namespace with the root filesystem at
// its path.
func attachRoot(rootFD int, path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // implies CLONE_FS
		return fmt.Errorf("create mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("set propagation of /: %w", err)
	}
	target, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer fd.Close(target)
	if err := unix.MoveMount(rootFD, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount root filesystem %s: %w", path, err)
	}
	return nil
}

// configure tells criu what stands for things of the host's.
func (v *revival) configure(root mount.Root) error {
	o, p := &v.from.CRIU, v.job.plan
	o.Root = p.Root.Path
	var err error
	if o.ExternalMounts, err = restoredMounts(root, p, hierarchies(v.container.state.Cgroup)); err != nil {
		return err
	}
	for controller, group := range v.container.state.Cgroup.Paths() {
		o.CgroupRoots = append(o.CgroupRoots, criu.CgroupRoot{Controller: controller, Path: group})
	}
	for kind, file := range v.job.namespaces.Join {
		if err := v.join(kind, file); err != nil {
			return err
		}
	}
	if n := v.job.options.Netns; n != nil {
		h, err := fd.Duplicate(int(n.Fd()))
		if err != nil {
			return err
		}
		v.inherit(namespaceKeys["network"].key, h)
	}
	v.inheritPipes()
	return nil
}

// inherit gives criu a descriptor, which is criu's from now on, for something that
// the images refer to.
func (v *revival) inherit(key string, h int) {
	v.from.CRIU.Inherited = append(v.from.CRIU.Inherited, criu.Inherited{Key: key, FD: criu.FirstExtra + len(v.extra)})
	v.extra = append(v.extra, h)
}

// join has the container live in a namespace of others again.
func (v *revival) join(kind, file string) error {
	o := &v.from.CRIU
	n, external := namespaceKeys[kind]
	switch {
	case external:
		h, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: file, Err: err}
		}
		v.inherit(n.key, h)
	case kind == "ipc" || kind == "uts":
		o.Joined = append(o.Joined, criu.Mapping{Key: kind, Value: file})
	default:
		return errs.New(errs.Unsupported, "criu cannot restore a container into another %s namespace", kind)
	}
	return nil
}

// inheritPipes lets our standard streams take the place of pipes that were the
// container's.
func (v *revival) inheritPipes() {
	for i, name := range v.streams {
		if i < 3 && strings.HasPrefix(name, "pipe:") {
			v.from.CRIU.Inherited = append(v.from.CRIU.Inherited, criu.Inherited{Key: name, FD: i})
		}
	}
}

// restoredMounts are the mounts that come from the host. Targets that are missing
// are made, except below a tmpfs, whose content is in the images.
func restoredMounts(root mount.Root, p *plan.Init, groups map[string]string) (all []criu.Mapping, err error) {
	r := p.Root
	var memory []string
	for _, m := range r.Targets {
		if m.Type == "tmpfs" && !m.Options.Bind {
			memory = append(memory, m.Target)
		}
	}
	for _, m := range r.Targets {
		if m.Type == "cgroup" && !m.Options.Bind {
			for name, dir := range groups {
				all = append(all, criu.Mapping{Key: path.Join(m.Target, name), Value: dir})
			}
		}
		if !m.Options.Bind {
			continue
		}
		name := m.Target
		if !isBelow(name, memory) {
			if name, err = makeTarget(root, m); err != nil {
				return nil, err
			}
		}
		all = append(all, criu.Mapping{Key: name, Value: m.Source})
	}
	for _, d := range boundDevices(p) {
		all = append(all, criu.Mapping{Key: d.Path, Value: d.Path})
	}
	if len(r.Masked) > 0 && !slices.ContainsFunc(all, func(m criu.Mapping) bool { return m.Key == maskDevice }) {
		all = append(all, criu.Mapping{Key: maskDevice, Value: maskDevice})
	}
	return all, nil
}

func isBelow(name string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

func makeTarget(root mount.Root, m plan.Mount) (string, error) {
	info, err := os.Stat(m.Source)
	if err != nil {
		return "", err
	}
	h, err := root.OpenOrCreate(m.Target, info.IsDir())
	if err != nil {
		return "", fmt.Errorf("make mount target %s: %w", m.Target, err)
	}
	fd.Close(h)
	name, _, err := resolve(root, m.Target)
	return name, err
}

// notify does what belongs to a point of the restoring.
func (v *revival) notify(n criu.Notification) error {
	c := v.container
	switch n.Script {
	case "orphan-pts-master":
		return v.console(n.FD)
	case "setup-namespaces":
		c.mu.Lock()
		c.state.Pid = n.Pid
		c.mu.Unlock()
		if h, err := unix.PidfdOpen(n.Pid, 0); err == nil {
			v.early = ns.Child{Pid: n.Pid, PidFD: h}
		}
		return c.runtimeHooks(v.job.spec.Hooks)
	case "post-restore":
		return v.born(n.Pid)
	}
	fd.Close(n.FD)
	return nil
}

// born records the first process, which is our child and does not run yet.
func (v *revival) born(pid int) error {
	st, err := ns.Stat(pid)
	if err != nil {
		return fmt.Errorf("find start time of process %d: %w", pid, err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	v.child = ns.Child{Pid: pid, PidFD: pidfd}
	c := v.container
	c.mu.Lock()
	c.state.Pid, c.state.StartTime = pid, st.StartTime
	c.mu.Unlock()
	return c.writeState()
}

// console hands the terminal's master to whoever shall have it.
func (v *revival) console(h int) error {
	if h < 0 {
		return errors.New("criu has not sent the terminal")
	}
	master := os.NewFile(uintptr(h), "console")
	if v.job.options.ConsoleSocket == "" {
		v.process.Console = master
		return nil
	}
	return errors.Join(sendConsole(v.job.options.ConsoleSocket, master), master.Close())
}

// kill ends what was restored.
func (v *revival) kill() error {
	if v.process.Console != nil {
		_ = v.process.Console.Close() // nobody reads what is lost
	}
	if v.child.PidFD < 0 {
		v.child, v.early.PidFD = v.early, -1
	}
	fd.Close(v.early.PidFD) // the same process, as it was known before
	v.early.PidFD = -1
	s := &spawned{child: v.child, sock: -1, console: -1, mounts: -1}
	err := s.kill()
	v.child = s.child
	return err
}
