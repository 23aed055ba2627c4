package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
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
	if o.CRIU.Images, err = openDir(o.Images, create); err != nil {
		return func() {}, fmt.Errorf("open directory of the checkpoint: %w", err)
	}
	if o.Work != "" {
		if o.CRIU.Work, err = openDir(o.Work, true); err != nil {
			fd.Close(o.CRIU.Images)
			return func() {}, fmt.Errorf("open work directory of the checkpoint: %w", err)
		}
	}
	return func() {
		fd.Close(o.CRIU.Images)
		if o.Work != "" {
			fd.Close(o.CRIU.Work)
		}
	}, nil
}

func openDir(dir string, create bool) (int, error) {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return -1, err
		}
	}
	h, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return h, nil
}

// Checkpoint writes a running container to files. Unless it is left running, its
// processes have ended then, and Delete removes what is left.
func (c *Container) Checkpoint(_ context.Context, o CheckpointOptions) error {
	if err := c.requireStatus("checkpoint", specs.StateRunning); err != nil {
		return err
	}
	if err := c.restorable(); err != nil {
		return err
	}
	spec, err := LoadSpec(c.state.Bundle)
	if err != nil {
		return err
	}
	p, namespaces, err := plan.Build(c.id, spec, c.state.Rootfs)
	if err != nil {
		return err
	}
	done, err := o.open("dump.log", true)
	if err != nil {
		return err
	}
	defer done()
	pid, _ := c.process()
	o.CRIU.Pid, o.CRIU.Root, o.CRIU.FreezeCgroup = pid, c.state.Rootfs, c.state.Cgroup.Freezer()
	if o.CRIU.External, err = externalNamespaces(namespaces.Join); err != nil {
		return err
	}
	verb := criu.PreDump
	if !o.PreDump {
		verb = criu.Dump
		if o.CRIU.ExternalMounts, err = dumpedMounts(pid, p.Root); err != nil {
			return err
		}
		if err := saveDescriptors(pid, o.Images); err != nil {
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
		return fmt.Errorf("checkpoint container %q: %w", c.id, err)
	}
	return nil
}

// restorable refuses what could be written but not be read again.
func (c *Container) restorable() error {
	if c.rt.rootless() {
		return errs.New(errs.Unsupported, "criu needs root: containers of ordinary users cannot be checkpointed")
	}
	if c.state.Shared != nil {
		return errs.New(errs.Unsupported, "a container without a mount namespace of its own cannot be checkpointed: criu would make its mounts in a new one")
	}
	if c.state.UserNS {
		return errs.New(errs.Unsupported, "a container with a user namespace cannot be checkpointed")
	}
	return nil
}

// namespaceKeys are the namespaces of others that a container may keep, by criu's
// name for the kind and for such a namespace.
var namespaceKeys = map[string]struct{ kind, key string }{
	"network": {"net", "extRootNetNS"}, "pid": {"pid", "extRootPidNS"},
}

// externalNamespaces names the joined namespaces that the images are to refer to.
func externalNamespaces(join map[string]string) (all []string, err error) {
	for name, n := range namespaceKeys {
		file, ok := join[name]
		if !ok {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: file, Err: err}
		}
		all = append(all, fmt.Sprintf("%s[%d]:%s", n.kind, st.Ino, n.key))
	}
	return all, nil
}

// dumpedMounts are the mounts that come from the host, under the names by which
// restoredMounts finds them again.
func dumpedMounts(pid int, r *plan.Root) (all []criu.Mapping, err error) {
	h, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root of process %d: %w", pid, err)
	}
	defer fd.Close(h)
	root := mount.RootAt(h)
	for _, m := range r.Targets {
		if !m.Options.Bind {
			continue
		}
		name, _, err := resolve(root, m.Target)
		if err != nil {
			return nil, err
		}
		all = append(all, criu.Mapping{Key: name, Value: name})
	}
	for _, masked := range r.Masked {
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
func saveDescriptors(pid int, dir string) error {
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
	return os.WriteFile(filepath.Join(dir, descriptorsFile), data, 0o600)
}
