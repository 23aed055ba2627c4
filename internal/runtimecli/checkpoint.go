package runtimecli

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
)

// defaultImages is where images are if nothing is said.
const defaultImages = "checkpoint"

// declareCheckpoint declares what checkpoint and restore have in common.
func declareCheckpoint(f *flag.FlagSet, o *oci.CheckpointOptions) {
	f.StringVar(&o.Images, "image-path", "", "path to the directory of the images (default: checkpoint)")
	f.StringVar(&o.Work, "work-path", "", "path to the directory of the log (default: that of the images)")
	f.BoolVar(&o.CRIU.TCPEstablished, "tcp-established", false, "allow open TCP connections")
	f.BoolVar(&o.CRIU.ExtUnixSockets, "ext-unix-sk", false, "allow unix sockets whose other end is outside")
	f.BoolVar(&o.CRIU.ShellJob, "shell-job", false, "allow the session and terminal to be those of others")
	f.BoolVar(&o.CRIU.FileLocks, "file-locks", false, "handle file locks")
	f.BoolVar(&o.CRIU.LazyPages, "lazy-pages", false, "transfer memory when it is used")
	f.BoolVar(&o.CRIU.AutoDedup, "auto-dedup", false, "drop memory of earlier images that a later one has")
	f.StringVar(&o.CgroupMode, "manage-cgroups-mode", "", "what becomes of cgroups: soft, full, strict or ignore (default: soft)")
	f.Func("empty-ns", "create a namespace, but do not restore its contents: network, whose contents never are", func(s string) error {
		if s != "network" {
			return errs.New(errs.InvalidArgument, "namespace %q is not supported", s)
		}
		return nil
	})
}

// imagesPath makes the directory's name absolute.
func imagesPath(o *oci.CheckpointOptions) (err error) {
	if o.Images == "" {
		o.Images = defaultImages
	}
	o.Images, err = filepath.Abs(o.Images)
	return err
}

func setupCheckpoint(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var o oci.CheckpointOptions
	declareCheckpoint(f, &o)
	f.BoolVar(&o.CRIU.LeaveRunning, "leave-running", false, "leave the process running after checkpointing")
	f.BoolVar(&o.CRIU.TCPSkipInFlight, "tcp-skip-in-flight", false, "skip TCP connections that are being established")
	f.BoolVar(&o.CRIU.LinkRemap, "link-remap", false, "allow files that have been removed, by giving them names again")
	f.StringVar(&o.CRIU.ParentImages, "parent-path", "", "directory of an earlier pre-dump, relative to the images")
	f.BoolVar(&o.PreDump, "pre-dump", false, "dump the memory only, leave the container running")
	statusFD := f.Int("status-fd", -1, "descriptor that gets a byte when a lazy dump is ready")
	f.Func("page-server", "ADDRESS:PORT of the page server", func(s string) error {
		colon := strings.LastIndexByte(s, ':')
		if colon < 0 {
			return errs.New(errs.InvalidArgument, "use --page-server ADDRESS:PORT: no port in %q", s)
		}
		port, err := strconv.ParseUint(s[colon+1:], 10, 16)
		if err != nil {
			return errs.New(errs.InvalidArgument, "use --page-server ADDRESS:PORT: %w", err)
		}
		o.CRIU.PageServer.Address, o.CRIU.PageServer.Port = strings.Trim(s[:colon], "[]"), int(port)
		return nil
	})
	return func(ctx context.Context, args []string) (int, error) {
		if err := imagesPath(&o); err != nil {
			return 1, err
		}
		o.Criu = a.criu
		if *statusFD >= 0 {
			unix.CloseOnExec(*statusFD)
			o.StatusFile = os.NewFile(uintptr(*statusFD), "status")
		}
		return 0, a.checkpoint(ctx, args[0], o)
	}
}

func (a *app) checkpoint(ctx context.Context, id string, o oci.CheckpointOptions) error {
	if filepath.IsAbs(o.CRIU.ParentImages) {
		return errs.New(errs.InvalidArgument, "--parent-path %s must be relative to the images", o.CRIU.ParentImages)
	}
	c, err := a.runtime.Load(id)
	if err != nil {
		return err
	}
	if err := c.Checkpoint(ctx, o); err != nil || o.CRIU.LeaveRunning || o.PreDump {
		return err
	}
	return c.Delete(ctx, true)
}

func setupRestore(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var c createFlags
	var from oci.CheckpointOptions
	var detach bool
	c.declare(f)
	declareCheckpoint(f, &from)
	f.BoolVar(&detach, "detach", false, "detach from the container's process")
	f.BoolVar(&detach, "d", false, "short for --detach")
	f.BoolVar(&c.noSubreaper, "no-subreaper", false, "disable the use of the subreaper used to reap reparented processes")
	f.StringVar(&from.CRIU.LSMProfile, "lsm-profile", "", "security profile of the restored processes, as TYPE:NAME")
	f.StringVar(&from.CRIU.LSMMountContext, "lsm-mount-context", "", "SELinux context of the restored mounts")
	return func(ctx context.Context, args []string) (int, error) {
		if err := imagesPath(&from); err != nil {
			return 1, err
		}
		from.Criu = a.criu
		return a.restore(ctx, args[0], c, from, detach)
	}
}

func (a *app) restore(ctx context.Context, id string, c createFlags, from oci.CheckpointOptions, detach bool) (int, error) {
	o, err := c.options()
	if err != nil {
		return 1, err
	}
	if err := checkConsole(o.Spec.Process.Terminal, detach, c.consoleSocket); err != nil {
		return 1, err
	}
	signals, err := catchSignals(detach)
	if err != nil {
		return 1, err
	}
	container, p, err := a.runtime.Restore(ctx, id, o, from)
	if err != nil {
		return 1, err
	}
	return a.attend(ctx, container, p, signals, c, detach, false)
}
