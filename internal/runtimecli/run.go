package runtimecli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/sigpipe"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/version"
)

// createFlags are shared by create and run.
type createFlags struct {
	bundle, consoleSocket, pidFile, pidfdSocket string
	noPivot, noNewKeyring, noSubreaper          bool
	preserveFDs                                 int
}

func (c *createFlags) declare(f *flag.FlagSet) {
	f.StringVar(&c.bundle, "bundle", "", "path to the root of the bundle directory (default: current directory)")
	f.StringVar(&c.bundle, "b", "", "short for --bundle")
	f.StringVar(&c.consoleSocket, "console-socket", "", "path to an AF_UNIX socket which receives the terminal's master")
	f.StringVar(&c.pidFile, "pid-file", "", "file to write the process id to")
	f.StringVar(&c.pidfdSocket, "pidfd-socket", "", "path to an AF_UNIX socket which receives a pidfd of the process")
	f.BoolVar(&c.noPivot, "no-pivot", false, "do not use pivot_root")
	f.BoolVar(&c.noNewKeyring, "no-new-keyring", false, "do not create a new session keyring")
	f.IntVar(&c.preserveFDs, "preserve-fds", 0, "pass N additional file descriptors to the container")
}

func (c *createFlags) options() (oci.CreateOptions, error) {
	bundle, err := filepath.Abs(c.bundle)
	if err != nil {
		return oci.CreateOptions{}, err
	}
	o := oci.CreateOptions{
		Bundle: bundle, ConsoleSocket: c.consoleSocket, KeepLineEnds: c.consoleSocket == "", NoPivot: c.noPivot, NoNewKeyring: c.noNewKeyring,
		IO: oci.IO{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
	}
	if o.Spec, err = oci.LoadSpec(bundle); err != nil {
		return o, err
	}
	if o.Spec.Process == nil {
		return o, errs.New(errs.InvalidArgument, "process property must not be empty")
	}
	o.PreserveFDs, err = preserved(c.preserveFDs, &o.Spec.Process.Env)
	return o, err
}

// preserved takes over n descriptors from 3 on, after those of systemd's socket
// activation, which the program is told about.
func preserved(n int, env *[]string) ([]*os.File, error) {
	listen := 0
	if text := os.Getenv("LISTEN_FDS"); text != "" {
		var err error
		if listen, err = strconv.Atoi(text); err != nil || listen < 0 {
			return nil, errs.New(errs.InvalidArgument, "LISTEN_FDS %q is not a number", text)
		}
		*env = append(*env, "LISTEN_FDS="+text, "LISTEN_PID=1")
	}
	var files []*os.File
	for h := 3; h < 3+n+listen; h++ {
		if _, err := unix.FcntlInt(uintptr(h), unix.F_GETFD, 0); err != nil {
			return nil, errs.New(errs.InvalidArgument, "unable to preserve fd %d: %w", h, err)
		}
		unix.CloseOnExec(h)
		files = append(files, os.NewFile(uintptr(h), "preserved"))
	}
	return files, nil
}

func checkConsole(terminal, detach bool, socket string) error {
	if detach && terminal && socket == "" {
		return errs.New(errs.InvalidArgument, "cannot allocate tty if runc will detach without setting console socket")
	}
	if (!detach || !terminal) && socket != "" {
		return errs.New(errs.InvalidArgument, "cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// announce tells the caller of a new process by the files that he named.
func announce(p *oci.Process, kind, pidFile, pidfdSocket string) error {
	if pidfdSocket != "" {
		if err := p.SendPidFD(pidfdSocket, kind); err != nil {
			return err
		}
	}
	if pidFile == "" {
		return nil
	}
	return atomicfile.Write(pidFile, []byte(strconv.Itoa(p.Pid)), 0o644, atomicfile.Volatile)
}

func setupCreate(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var c createFlags
	c.declare(f)
	return func(ctx context.Context, args []string) (int, error) {
		return 0, explain(Name+" create", a.create(ctx, args[0], c))
	}
}

func (a *app) create(ctx context.Context, id string, c createFlags) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if err := checkConsole(o.Spec.Process.Terminal, true, c.consoleSocket); err != nil {
		return err
	}
	container, p, err := a.runtime.Create(ctx, id, o)
	if err != nil {
		return err
	}
	if err := announce(p, "standard", c.pidFile, c.pidfdSocket); err != nil {
		return errors.Join(err, container.Delete(ctx, true), end(p))
	}
	return nil
}

func setupRun(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var c createFlags
	c.declare(f)
	var detach, keep bool
	f.BoolVar(&detach, "detach", false, "detach from the container's process")
	f.BoolVar(&detach, "d", false, "short for --detach")
	f.BoolVar(&keep, "keep", false, "do not delete the container after it exited")
	f.BoolVar(&c.noSubreaper, "no-subreaper", false, "disable the use of the subreaper used to reap reparented processes")
	return func(ctx context.Context, args []string) (int, error) {
		code, err := a.runContainer(ctx, args[0], c, detach, keep)
		return code, explain(Name+" run", err)
	}
}

func (a *app) runContainer(ctx context.Context, id string, c createFlags, detach, keep bool) (int, error) {
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
	container, p, err := a.runtime.Run(ctx, id, o)
	if err != nil {
		return 1, err
	}
	return a.attend(ctx, container, p, signals, c, detach, keep)
}

// attend stays with the container's process until it ends, unless it is detached.
func (a *app) attend(ctx context.Context, container *oci.Container, p *oci.Process, signals *sigpipe.Pipe, c createFlags, detach, keep bool) (int, error) {
	if err := announce(p, "standard", c.pidFile, c.pidfdSocket); err != nil {
		return 1, errors.Join(err, container.Delete(ctx, true), end(p))
	}
	if detach {
		return 0, nil
	}
	code, err := a.foreground(p, signals)
	if !keep || err != nil {
		err = errors.Join(err, container.Delete(ctx, true))
	}
	return code, err
}

func setupStart(a *app, _ *flag.FlagSet) func(context.Context, []string) (int, error) {
	return func(ctx context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err == nil {
			err = c.Start(ctx)
		}
		return 0, explain(Name+" start", err)
	}
}

func setupDelete(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var force bool
	f.BoolVar(&force, "force", false, "forcibly delete the container if it is still running")
	f.BoolVar(&force, "f", false, "short for --force")
	return func(ctx context.Context, args []string) (int, error) {
		return 0, a.runtime.Delete(ctx, args[0], force)
	}
}

func printVersion(w interface{ Write([]byte) (int, error) }) {
	_, _ = fmt.Fprintf(w, "%s version %s\ncommit: %s\nspec: %s\ngo: %s\n", Name, version.Version, version.Commit, specs.Version, version.Go())
}
