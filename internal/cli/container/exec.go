package container

import (
	"context"
	"os"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

type execOptions struct {
	detach, interactive, tty, privileged bool
	detachKeys, user, workdir            string
	env, envFile                         opt.List
}

// NewExec makes the command "exec".
func NewExec(s *session.Session) *cobra.Command {
	var o execOptions
	o.env.Check = opt.EnvCheck
	cmd := &cobra.Command{
		Use:         "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short:       "Run a command in a running container",
		Args:        session.MinArgs(2),
		Annotations: aliases("container exec", "exec"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), s, args[0], args[1:])
		},
		ValidArgsFunction: completeNames(s, 1, containertypes.StateRunning),
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&o.detach, "detach", "d", false, "Run the command in the background")
	fs.StringVar(&o.detachKeys, "detach-keys", "", "Key sequence that detaches from the command")
	fs.VarP(&o.env, "env", "e", "Set an environment variable")
	fs.Var(&o.envFile, "env-file", "Read environment variables from a file")
	fs.BoolVarP(&o.interactive, "interactive", "i", false, "Keep STDIN open, attached or not")
	fs.BoolVar(&o.privileged, "privileged", false, "Give the command all privileges")
	fs.BoolVarP(&o.tty, "tty", "t", false, "Give the command a pseudo-TTY")
	fs.StringVarP(&o.user, "user", "u", "", `User name or UID (format: "<name|uid>[:<group|gid>]")`)
	fs.StringVarP(&o.workdir, "workdir", "w", "", "Working directory inside the container")
	return cmd
}

func (o *execOptions) run(ctx context.Context, s *session.Session, name string, args []string) error {
	env, err := opt.KeyValues(o.envFile.Values, o.env.Values, os.LookupEnv)
	if err != nil {
		return err
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	req := client.ExecCreateOptions{
		User: o.user, Privileged: o.privileged, TTY: o.tty, Env: env, WorkingDir: o.workdir, Cmd: args,
		DetachKeys: s.DetachKeys(o.detachKeys),
	}
	if o.tty {
		req.ConsoleSize.Height, req.ConsoleSize.Width = s.Size()
	}
	if !o.detach {
		req.AttachStdin, req.AttachStdout, req.AttachStderr = o.interactive, true, true
		if err := s.CheckTTY(o.interactive, o.tty); err != nil {
			return err
		}
	}
	if _, err := stream.ParseDetachKeys(req.DetachKeys); err != nil {
		return err
	}
	created, err := c.ExecCreate(ctx, name, req)
	if err != nil {
		return err
	}
	if o.detach {
		return c.ExecStart(ctx, created.ID, client.ExecStartOptions{Detach: true, TTY: o.tty, ConsoleSize: req.ConsoleSize})
	}
	return o.attach(ctx, s, c, created.ID, req)
}

func (o *execOptions) attach(ctx context.Context, s *session.Session, c *client.Client, id string, req client.ExecCreateOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.ExecAttach(ctx, id, client.ExecAttachOptions{TTY: o.tty, ConsoleSize: req.ConsoleSize})
	if err != nil {
		return err
	}
	at := stream.Attach{Conn: conn, Out: s.Out, Err: s.Err, TTY: o.tty, DetachKeys: req.DetachKeys}
	if o.interactive {
		at.In = s.In
	}
	if o.tty {
		at.Err = nil
		if o.interactive {
			if err := s.MakeRaw(); err != nil {
				return err
			}
			defer s.Restore()
			defer s.RestoreOnDeath()()
		}
		s.FollowSize(ctx, func(h, w uint) {
			// A command that has just ended has no terminal to resize.
			_ = c.ExecResize(ctx, id, client.ExecResizeOptions{Height: h, Width: w})
		})
	}
	err = at.Run(ctx)
	s.Restore()
	if err != nil {
		return err
	}
	info, err := c.ExecInspect(ctx, id)
	if err != nil {
		return err
	}
	if info.ExitCode != 0 {
		return session.Exit(info.ExitCode)
	}
	return nil
}
