package container

import (
	"context"

	containertypes "github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// stopFlags are what stop and restart share.
type stopFlags struct {
	signal  string
	timeout int
}

func (o *stopFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&o.signal, "signal", "s", "", "Signal to send to the container")
	fs.IntVarP(&o.timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	fs.IntVar(&o.timeout, "time", 0, "Seconds to wait before killing the container")
	fs.Lookup("time").Hidden = true
}

// seconds is nil unless the user gave a timeout.
func (o *stopFlags) seconds(fs *pflag.FlagSet) *int {
	if fs.Changed("timeout") || fs.Changed("time") {
		return &o.timeout
	}
	return nil
}

// NewStop makes the command "stop".
func NewStop(s *session.Session) *cobra.Command {
	var o stopFlags
	cmd := &cobra.Command{
		Use:         "stop [OPTIONS] CONTAINER [CONTAINER...]",
		Short:       "Stop running containers",
		Args:        session.MinArgs(1),
		Annotations: aliases("container stop", "stop"),
		RunE: func(cmd *cobra.Command, args []string) error {
			timeout := o.seconds(cmd.Flags())
			return each(cmd.Context(), s, args, func(ctx context.Context, c *client.Client, name string) error {
				return c.ContainerStop(ctx, name, client.ContainerStopOptions{Signal: o.signal, Timeout: timeout})
			})
		},
		ValidArgsFunction: completeNames(s, 0, containertypes.StateRunning, containertypes.StatePaused),
	}
	o.register(cmd.Flags())
	return cmd
}
