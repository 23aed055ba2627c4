package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/cgroup"
	"github.com/gantry-run/gantry/internal/linux/criu"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// CheckpointOptions say how a container is written to files, or read from there.
// The images are interchangeable with runc's.
type CheckpointOptions struct {
	Criu   string       // the program; "" is criu in PATH
	Images string       // directory for the images
	Dir    *os.File     // that directory, where the caller has it open: Images is only its name then
	Ours   bool         // Images is no link, belongs to this user, and nobody else may write there
	Work   string       // directory for the log; "": Images
	CRIU   criu.Options // what else criu is told; directories and resources are filled in

	// CgroupMode is one of criu.CgroupModes.
	CgroupMode string

	// PreDump writes memory only and leaves the container as it is.
	PreDump bool
	// StatusFile gets a NUL byte when a lazy dump waits for its reader. It is closed then.
	StatusFile *os.File
}

// descriptorsFile lists what the standard streams were, in the images.
const descriptorsFile = "descriptors.json"

// open opens the directories and fills in what is the same for both ways.
func (o *CheckpointOptions) open(log string, create bool) (close func(), err error) {
	if o.Images == "" {
		return func() {}, errs.New(errs.InvalidArgument, "the directory of the checkpoint is not given")
	}
	mode, ok := criu.CgroupModes[o.CgroupMode]
	if !ok {
		return func() {}, errs.New(errs.InvalidArgument, "invalid manage-cgroups-mode: %q", o.CgroupMode)
	}
	o.CRIU.CgroupMode, o.CRIU.LogFile = mode, log
	// The network is set up by whoever starts the container, and not ours to restore.
	o.CRIU.EmptyNamespaces |= unix.CLONE_NEWNET
	// Settings of the administrator's for all runtimes; the name is runc's.
	o.CRIU.ConfigFile = "/etc/criu/runc.conf"
	if o.CRIU.Images, err = o.openImages(create); err != nil {
		return func() {}, fmt.Errorf("open directory of the checkpoint: %w", err)
	}
	logDir := o.CRIU.Images
	if o.Work != "" {
		if o.CRIU.Work, err = openDir(o.Work, true, 0); err != nil {
			fd.Close(o.CRIU.Images)
			return func() {}, fmt.Errorf("open work directory of the checkpoint: %w", err)
		}
		logDir = o.CRIU.Work
	}
	close = func() {
		fd.Close(o.CRIU.Images)
		if o.Work != "" {
			fd.Close(o.CRIU.Work)
		}
	}
	// criu overwrites its log, and would write to where a link leads.
	if err := unix.Unlinkat(logDir, log, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		close()
		return func() {}, fmt.Errorf("remove earlier log of criu: %w", &os.PathError{Op: "unlink", Path: log, Err: err})
	}
	return close, nil
}

// openImages opens the images' directory. If it must be ours, it must not be a link,
// and nobody else may have written there: whoever does says what is restored.
func (o *CheckpointOptions) openImages(create bool) (int, error) {
	flags := 0
	if o.Ours {
		flags = unix.O_NOFOLLOW
	}
	h, err := -1, error(nil)
	if o.Dir == nil {
		h, err = openDir(o.Images, create, flags)
	} else if h, err = unix.Openat(int(o.Dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		err = &os.PathError{Op: "open", Path: o.Images, Err: err}
	}
	if err != nil || !o.Ours {
		return h, err
	}
	if err := fd.CheckOwn(h, o.Images); err != nil {
		fd.Close(h)
		return -1, err
	}
	return h, nil
}

func openDir(dir string, create bool, flags int) (int, error) {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return -1, err
		}
	}
	h, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return h, nil
}

// Checkpoint writes a running container to files. Unless it is left running, its
// processes have ended then, and Delete removes what is left.
func (c *Container) Checkpoint(ctx context.Context, o CheckpointOptions) error {
	if err := c.requireStatus("checkpoint", specs.StateRunning); err != nil {
		return err
	}
	dump, err := c.dumpPlan()
	if err != nil {
		return err
	}
	if err := c.restorable(dump); err != nil {
		return err
	}
	done, err := o.open("dump.log", true)
	if err != nil {
		return err
	}
	defer done()
	pid, _ := c.process()
	o.CRIU.Pid, o.CRIU.Root, o.CRIU.FreezeCgroup = pid, c.state.Rootfs, c.state.Cgroup.Freezer()
	if o.CRIU.External, err = externalNamespaces(pid, dump.External); err != nil {
		return err
	}
	verb := criu.PreDump
	if !o.PreDump {
		verb = criu.Dump
		if o.CRIU.ExternalMounts, err = dumpedMounts(pid, dump, hierarchies(c.state.Cgroup)); err != nil {
			return err
		}
		if err := saveDescriptors(pid, o.CRIU.Images); err != nil {
			return err
		}
	}
	run := &criu.Process{Program: o.Criu, Cgroup: -1}
	err = run.Run(verb, &o.CRIU, func(n criu.Notification) error {
		fd.Close(n.FD)
		if n.Script == "status-ready" && o.StatusFile != nil {
			_, err := o.StatusFile.Write([]byte{0})
			return errors.Join(err, o.StatusFile.Close())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("checkpoint container %q: %w", c.id, errors.Join(err, c.thaw(ctx)))
	}
	return nil
}

// thaw lets the container go on if criu has died while it was frozen.
func (c *Container) thaw(ctx context.Context) error {
	status, err := c.Status()
	if err != nil || status != statusPaused {
		return err
	}
	return c.Resume(ctx)
}

// dumpPlan is what must be known of a container to dump it.
type dumpPlan struct {
	Obstacle string   `json:"obstacle,omitempty"` // why it cannot be restored
	Binds    []string `json:"binds,omitempty"`    // targets of mounts that come from the host
	Masked   []string `json:"masked,omitempty"`
	Cgroups  []string `json:"cgroups,omitempty"`  // targets of cgroup mounts
	External []string `json:"external,omitempty"` // kinds of namespaces that are others'
}

func newDumpPlan(job *creation) *dumpPlan {
	d := &dumpPlan{Masked: job.plan.Root.Masked}
	for i := range job.plan.Root.Targets {
		m := &job.plan.Root.Targets[i]
		if m.Options.Bind {
			d.Binds = append(d.Binds, m.Target)
		} else if m.Type == "cgroup" {
			d.Cgroups = append(d.Cgroups, m.Target)
		}
		if o := &m.Options; o.Subpath != "" || o.Namespace != "" || o.IDMap {
			d.Obstacle = "criu cannot make the mount " + m.Target + " again, which is a part of a volume, of another container or has mapped ids"
		}
	}
	for _, dev := range boundDevices(job.plan) {
		d.Binds = append(d.Binds, dev.Path)
	}
	if job.namespaces.Join["user"] != "" {
		d.Obstacle = "criu cannot restore a container into the user namespace of others"
	}
	for _, kind := range slices.Sorted(maps.Keys(namespaceKeys)) {
		if _, joined := job.namespaces.Join[kind]; joined || kind == "network" && job.options.Netns != nil {
			d.External = append(d.External, kind)
		}
	}
	return d
}

// boundDevices are the machine's devices that are mounted in a user namespace, where
// nobody makes any.
func boundDevices(p *plan.Init) []plan.Device {
	if !p.UserNS {
		return nil
	}
	return p.Root.Devices
}

// dumpPlan is in the record. In that of an earlier version's it is not; then the
// bundle tells.
func (c *Container) dumpPlan() (*dumpPlan, error) {
	if c.state.Dump != nil {
		return c.state.Dump, nil
	}
	job, err := newCreation(c.id, CreateOptions{Bundle: c.state.Bundle}, false)
	if err != nil {
		return nil, err
	}
	return newDumpPlan(job), nil
}

// restorable refuses what could be written but not be read again.
func (c *Container) restorable(d *dumpPlan) error {
	if c.rt.rootless() {
		return errs.New(errs.Unsupported, "criu needs root: containers of ordinary users cannot be checkpointed")
	}
	if c.state.Shared != nil {
		return errs.New(errs.Unsupported, "a container without a mount namespace of its own cannot be checkpointed: criu would make its mounts in a new one")
	}
	if d.Obstacle != "" {
		return errs.New(errs.Unsupported, "%s", d.Obstacle)
	}
	return nil
}

// namespaceKeys are the namespaces of others that a container may keep, by criu's
// name for the kind and for such a namespace.
var namespaceKeys = map[string]struct{ kind, key string }{
	"network": {"net", "extRootNetNS"}, "pid": {"pid", "extRootPidNS"},
}

// externalNamespaces names the namespaces of a process, of these kinds, that the
// images are to refer to.
func externalNamespaces(pid int, kinds []string) (all []string, err error) {
	for _, name := range kinds {
		n := namespaceKeys[name]
		file := fmt.Sprintf("/proc/%d/ns/%s", pid, n.kind)
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: file, Err: err}
		}
		all = append(all, fmt.Sprintf("%s[%d]:%s", n.kind, st.Ino, n.key))
	}
	return all, nil
}

// hierarchies are the directories of a group on cgroup v1 by what they are called in
// the container's view of cgroups, see boot. criu takes them for the machine's.
func hierarchies(g cgroup.Group) map[string]string {
	shared := map[string][]string{}
	for _, controller := range slices.Sorted(maps.Keys(g.V1)) {
		shared[g.V1[controller]] = append(shared[g.V1[controller]], controller)
	}
	all := map[string]string{}
	for dir, controllers := range shared {
		all[strings.TrimPrefix(strings.Join(controllers, ","), "name=")] = dir
	}
	return all
}

// dumpedMounts are the mounts that come from the host, under the names by which
// restoredMounts finds them again.
func dumpedMounts(pid int, d *dumpPlan, groups map[string]string) (all []criu.Mapping, err error) {
	h, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root of process %d: %w", pid, err)
	}
	defer fd.Close(h)
	root := mount.RootAt(h)
	for _, target := range d.Binds {
		name, _, err := resolve(root, target)
		if err != nil {
			return nil, err
		}
		all = append(all, criu.Mapping{Key: name, Value: name})
	}
	for _, target := range d.Cgroups {
		for _, name := range slices.Sorted(maps.Keys(groups)) {
			all = append(all, criu.Mapping{Key: path.Join(target, name), Value: path.Join(target, name)})
		}
	}
	for _, masked := range d.Masked {
		name, dir, err := resolve(root, masked)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !dir { // a directory is hidden by a tmpfs, which is the container's own
			all = append(all, criu.Mapping{Key: name, Value: maskDevice})
		}
	}
	return all, nil
}

// maskDevice hides files.
const maskDevice = "/dev/null"

// resolve gives the name of a file in the container after all links, and tells
// whether it is a directory.
func resolve(root mount.Root, name string) (string, bool, error) {
	h, err := root.Open(name, unix.O_PATH)
	if err != nil {
		return "", false, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer fd.Close(h)
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(h))
	if err != nil {
		return "", false, err
	}
	dir, err := mount.IsDir(h)
	return path.Clean(real), dir, err
}

// saveDescriptors writes what the standard streams are, so that pipes can be
// replaced by others.
func saveDescriptors(pid, images int) error {
	names := make([]string, 3)
	for i := range names {
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // closed by the program
			return err
		}
		names[i] = name
	}
	data, err := json.Marshal(names)
	if err != nil {
		return err
	}
	f, err := fd.OpenIn(images, descriptorsFile, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// maxDescriptors bounds descriptorsFile.
const maxDescriptors = 64 << 10

// loadDescriptors reads what saveDescriptors has written.
func loadDescriptors(images int) (names []string, err error) {
	f, err := fd.OpenIn(images, descriptorsFile, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxDescriptors))
	if err == nil {
		err = json.Unmarshal(data, &names)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", descriptorsFile, err)
	}
	return names, nil
}
