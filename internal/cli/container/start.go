package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	containertypes "github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
)

type startOptions struct {
	attach, interactive                   bool
	detachKeys, checkpoint, checkpointDir string
}

// NewStart makes the command "start".
func NewStart(s *session.Session) *cobra.Command {
	var o startOptions
	cmd := &cobra.Command{
		Use:         "start [OPTIONS] CONTAINER [CONTAINER...]",
		Short:       "Start stopped containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container start", "start"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.checkpoint != "" && len(args) > 1 {
				return errors.New("you cannot restore multiple containers at once")
			}
			if o.attach || o.interactive {
				if len(args) > 1 {
					return errors.New("you cannot start and attach multiple containers at once")
				}
				return o.startAttached(cmd.Context(), s, args[0])
			}
			if o.checkpoint != "" {
				return o.restore(cmd.Context(), s, args[0])
			}
			return o.startAll(cmd.Context(), s, args)
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateCreated, containertypes.StateExited),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.attach, "attach", "a", false, "Attach STDOUT and STDERR and forward signals")
	fs.BoolVarP(&o.interactive, "interactive", "i", false, "Attach STDIN of the container")
	fs.StringVar(&o.detachKeys, "detach-keys", "", "Key sequence that detaches from the container")
	fs.StringVar(&o.checkpoint, "checkpoint", "", "Checkpoint to restore")
	fs.StringVar(&o.checkpointDir, "checkpoint-dir", "", "Directory of the checkpoints")
	return cmd
}

// restore says nothing, as Docker does.
func (o *startOptions) restore(ctx context.Context, s *session.Session, name string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	return c.ContainerStart(ctx, name, client.ContainerStartOptions{CheckpointID: o.checkpoint, CheckpointDir: o.checkpointDir})
}

func (o *startOptions) startAll(ctx context.Context, s *session.Session, names []string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	var failed []string
	for _, name := range names {
		err := c.ContainerStart(ctx, name, client.ContainerStartOptions{})
		if session.Connect(err) != nil {
			return err
		}
		if err != nil {
			fmt.Fprintln(s.Err, err)
			failed = append(failed, name)
			continue
		}
		fmt.Fprintln(s.Out, name)
	}
	if len(failed) > 0 {
		//lint:ignore ST1005 Docker's text
		return fmt.Errorf("Error: failed to start containers: %s", strings.Join(failed, ", "))
	}
	return nil
}

func (o *startOptions) startAttached(ctx context.Context, s *session.Session, name string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	res, err := c.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	info := res.Container
	tty := info.Config != nil && info.Config.Tty
	if !tty {
		defer forward(ctx, s, c, info.ID, tty)()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stdin := o.interactive && info.Config != nil && info.Config.OpenStdin
	done, err := attachTo(ctx, s, c, info.ID, attachment{
		stdin: stdin, stdout: true, stderr: true, tty: tty, detachKeys: s.DetachKeys(o.detachKeys),
	})
	if err != nil {
		return err
	}
	defer s.Restore()
	exit := waitExit(ctx, s, c, info.ID, info.HostConfig != nil && info.HostConfig.AutoRemove)
	if err := c.ContainerStart(ctx, info.ID, client.ContainerStartOptions{CheckpointID: o.checkpoint, CheckpointDir: o.checkpointDir}); err != nil {
		cancel()
		<-done
		if info.HostConfig != nil && info.HostConfig.AutoRemove {
			<-exit
		}
		return err
	}
	if tty {
		s.FollowSize(ctx, func(h, w uint) { resizeContainer(ctx, c, info.ID, h, w) })
	}
	err = <-done
	s.Restore()
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
