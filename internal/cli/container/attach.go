package container

import (
	"context"
	"errors"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type attachOptions struct {
	noStdin, sigProxy bool
	detachKeys        string
}

// NewAttach makes the command "attach".
func NewAttach(s *session.Session) *cobra.Command {
	var o attachOptions
	cmd := &cobra.Command{
		Use:         "attach [OPTIONS] CONTAINER",
		Short:       "Connect to the input and output of a running container",
		Args:        session.ExactArgs(1),
		Annotations: aliases("container attach", "attach"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), s, args[0])
		},
		ValidArgsFunction: completeNames(s, 1, containertypes.StateRunning),
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.noStdin, "no-stdin", false, "Do not attach STDIN")
	fs.BoolVar(&o.sigProxy, "sig-proxy", true, "Forward received signals to the container")
	fs.StringVar(&o.detachKeys, "detach-keys", "", "Key sequence that detaches from the container")
	return cmd
}

func (o *attachOptions) run(ctx context.Context, s *session.Session, name string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	info, err := attachable(ctx, c, name)
	if err != nil {
		return err
	}
	tty := info.Config.Tty
	stdin := !o.noStdin && info.Config.OpenStdin
	if err := s.CheckTTY(stdin, tty); err != nil {
		return err
	}
	if o.sigProxy && !tty {
		defer forward(ctx, s, c, info.ID, tty)()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exit := waitExit(ctx, s, c, info.ID, false)
	done, err := attachTo(ctx, s, c, info.ID, attachment{
		stdin: stdin, stdout: true, stderr: true, tty: tty, detachKeys: s.DetachKeys(o.detachKeys),
		// It may have exited between the inspection and the attachment: then no
		// output would ever end the copying.
		recheck: func() error { _, err := attachable(ctx, c, info.ID); return err },
	})
	if err != nil {
		return err
	}
	defer s.Restore()
	if tty {
		s.FollowSize(ctx, func(h, w uint) { redraw(ctx, c, info.ID, h, w) })
	}
	err = <-done
	s.Restore()
	if err != nil {
		return err
	}
	if code := <-exit; code != 0 {
		return session.Exit(code)
	}
	return nil
}

func attachable(ctx context.Context, c *client.Client, name string) (*containertypes.InspectResponse, error) {
	res, err := c.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	st := res.Container.State
	switch {
	case st == nil || res.Container.Config == nil:
		return nil, errors.New("the daemon's answer has no state")
	case !st.Running:
		//lint:ignore ST1005 Docker's text
		return nil, errors.New("You cannot attach to a stopped container, start it first")
	case st.Paused:
		//lint:ignore ST1005 Docker's text
		return nil, errors.New("You cannot attach to a paused container, unpause it first")
	case st.Restarting:
		//lint:ignore ST1005 Docker's text
		return nil, errors.New("You cannot attach to a restarting container, wait until it is running")
	}
	return &res.Container, nil
}

// redraw changes the size twice, since programs draw anew only on a change.
func redraw(ctx context.Context, c *client.Client, id string, h, w uint) {
	resizeContainer(ctx, c, id, h+1, w+1)
	resizeContainer(ctx, c, id, h, w)
}
