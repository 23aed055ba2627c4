package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/create"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

type runOptions struct {
	creation
	detach     bool
	sigProxy   bool
	detachKeys string
}

// NewRun makes the command "run".
func NewRun(s *session.Session) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:         "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:       "Create a container from an image and run it",
		Args:        session.MinArgs(1),
		Annotations: aliases("container run", "run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return session.WithHelp(cmd, session.ExitFailed, err)
			}
			spec, err := o.build(s, cmd.Flags(), args)
			if err != nil {
				return session.WithHelp(cmd, session.ExitFailed, err)
			}
			if err := o.prepare(s, spec); err != nil {
				return err
			}
			r := running{s: s, o: &o, spec: spec}
			err = r.run(cmd.Context())
			if exit := new(session.ExitError); err == nil || errors.As(err, &exit) {
				return err
			}
			return session.WithHelp(cmd, startStatus(err), err)
		},
		ValidArgsFunction: completeImages(s),
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "Run in the background and print the container ID")
	cmd.Flags().BoolVar(&o.sigProxy, "sig-proxy", true, "Forward received signals to the container")
	cmd.Flags().StringVar(&o.detachKeys, "detach-keys", "", "Key sequence that detaches from the container")
	return cmd
}

// prepare settles which streams are attached.
func (o *runOptions) prepare(s *session.Session, spec *create.Spec) error {
	cfg := spec.Config
	if !o.detach {
		if err := s.CheckTTY(cfg.AttachStdin, cfg.Tty); err != nil {
			return err
		}
	} else {
		if o.AttachGiven() {
			return errors.New("conflicting options: cannot specify both --attach and --detach")
		}
		cfg.AttachStdin, cfg.AttachStdout, cfg.AttachStderr, cfg.StdinOnce = false, false, false, false
	}
	if cfg.Tty {
		h, w := s.Size()
		spec.Host.ConsoleSize = [2]uint{h, w}
	}
	return nil
}

// startStatus tells from the daemon's words why the program did not start.
func startStatus(err error) int {
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case session.Connect(err) != nil:
		return session.ExitFailed
	case has("executable file not found", "no such file or directory", "system cannot find the file"):
		return session.ExitNotFound
	case has("permission denied", "is a directory"):
		return session.ExitNotAllowed
	}
	return session.ExitFailed
}

// running is one run from creation to exit.
type running struct {
	s    *session.Session
	o    *runOptions
	spec *create.Spec
	c    *client.Client
	id   string
}

// run creates, attaches, waits and starts, in this order: nothing that the
// container writes and no exit can be missed.
func (r *running) run(ctx context.Context) (err error) {
	if r.c, err = r.s.Client(); err != nil {
		return err
	}
	if r.id, err = r.o.create(ctx, r.s, r.spec, r.s.Err); err != nil {
		return err
	}
	cfg := r.spec.Config
	attached := cfg.AttachStdin || cfg.AttachStdout || cfg.AttachStderr
	if r.o.sigProxy && attached {
		defer forward(ctx, r.s, r.c, r.id, cfg.Tty)()
	}
	if !cfg.AttachStdout && !cfg.AttachStderr {
		defer r.printID()()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !attached {
		return r.startDetached(ctx)
	}
	done, err := r.attach(ctx)
	if err != nil {
		return err
	}
	defer r.s.Restore()
	exit := waitExit(ctx, r.s, r.c, r.id, r.spec.Host.AutoRemove)
	if err := r.c.ContainerStart(ctx, r.id, client.ContainerStartOptions{}); err != nil {
		cancel()
		r.s.Restore()
		<-done
		r.awaitRemoval(exit)
		return err
	}
	if cfg.Tty {
		r.s.FollowSize(ctx, func(h, w uint) { resizeContainer(ctx, r.c, r.id, h, w) })
	}
	err = <-done
	r.s.Restore()
	if errors.Is(err, stream.ErrDetached) {
		return nil
	}
	if err != nil {
		return err
	}
	if code := <-exit; code != 0 {
		return session.Exit(code)
	}
	return nil
}

// startDetached starts without waiting. A container that fails to start and
// has --rm removes itself.
func (r *running) startDetached(ctx context.Context) error {
	return r.c.ContainerStart(ctx, r.id, client.ContainerStartOptions{})
}

// awaitRemoval lets the daemon finish removing a --rm container whose start failed.
func (r *running) awaitRemoval(exit <-chan int) {
	if r.spec.Host.AutoRemove {
		<-exit
	}
}

// printID prints the ID beside the rest, so that a reader that is slow to
// take it does not delay the container.
func (r *running) printID() (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() { fmt.Fprintln(r.s.Out, r.id) })
	return wg.Wait
}

func (r *running) attach(ctx context.Context) (<-chan error, error) {
	cfg := r.spec.Config
	return attachTo(ctx, r.s, r.c, r.id, attachment{
		stdin: cfg.AttachStdin, stdout: cfg.AttachStdout, stderr: cfg.AttachStderr,
		tty: cfg.Tty, detachKeys: r.s.DetachKeys(r.o.detachKeys),
	})
}

// attachment says which streams to attach.
type attachment struct {
	stdin, stdout, stderr, tty, logs bool
	detachKeys                       string
	// recheck, if set, is asked once the connection stands and before
	// anything is copied.
	recheck func() error
}

// attachTo hijacks a connection and starts copying. The channel gives the one
// result of stream.Attach.Run. With a TTY and stdin the terminal is raw until
// the session's Restore.
func attachTo(ctx context.Context, s *session.Session, c *client.Client, id string, a attachment) (<-chan error, error) {
	if _, err := stream.ParseDetachKeys(a.detachKeys); err != nil {
		return nil, err
	}
	conn, err := c.ContainerAttach(ctx, id, client.ContainerAttachOptions{
		Stream: true, Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr, DetachKeys: a.detachKeys, Logs: a.logs,
	})
	if err != nil {
		return nil, err
	}
	if a.recheck != nil {
		if err := a.recheck(); err != nil {
			conn.Close()
			return nil, err
		}
	}
	at := stream.Attach{Conn: conn, TTY: a.tty, DetachKeys: a.detachKeys}
	if a.stdin {
		at.In = s.In
	}
	if a.stdout {
		at.Out = s.Out
	}
	if a.stderr {
		at.Err = s.Err
	}
	if a.tty {
		at.Err = nil // a terminal has one output
		if !a.stdout && a.stderr {
			at.Out = s.Err
		}
		if a.stdin {
			if err := s.MakeRaw(); err != nil {
				conn.Close()
				return nil, err
			}
		}
	}
	done := make(chan error, 1)
	go func() { done <- at.Run(ctx) }()
	return done, nil
}

// waitExit registers a wait and returns when the daemon has it, with a
// channel that gives the exit code.
func waitExit(ctx context.Context, s *session.Session, c *client.Client, id string, removed bool) <-chan int {
	cond := containertypes.WaitConditionNextExit
	if removed {
		cond = containertypes.WaitConditionRemoved
	}
	res := c.ContainerWait(context.WithoutCancel(ctx), id, client.ContainerWaitOptions{Condition: cond})
	code := make(chan int, 1)
	go func() {
		select {
		case r := <-res.Result:
			if r.Error != nil {
				fmt.Fprintf(s.Err, "Error waiting for container: %v\n", r.Error.Message)
				code <- session.ExitFailed
				return
			}
			code <- int(r.StatusCode)
		case err := <-res.Error:
			fmt.Fprintf(s.Err, "error waiting for container: %v\n", err)
			code <- session.ExitFailed
		}
	}()
	return code
}

// forward sends the signals that this process gets to the container. With a
// TTY the window's size has a way of its own.
func forward(ctx context.Context, s *session.Session, c *client.Client, id string, tty bool) (stop func()) {
	ctx = context.WithoutCancel(ctx)
	giveUp := func() {
		s.Restore()
		fmt.Fprintln(s.Err, "\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
		os.Exit(1)
	}
	stop, err := stream.ForwardSignals(tty, func(name string) {
		// A container that is not running any more cannot be told.
		_ = c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: name})
	}, giveUp)
	if err != nil {
		fmt.Fprintf(s.Err, "signals are not forwarded: %v\n", err)
		return func() {}
	}
	return stop
}

func resizeContainer(ctx context.Context, c *client.Client, id string, h, w uint) {
	// A container that has just exited has no terminal to resize.
	_ = c.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: h, Width: w})
}
