package container

import (
	"io"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewLogs makes the command "logs".
func NewLogs(s *session.Session) *cobra.Command {
	o := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true}
	cmd := &cobra.Command{
		Use:         "logs [OPTIONS] CONTAINER",
		Short:       "Show what a container has written",
		Args:        session.ExactArgs(1),
		Annotations: aliases("container logs", "logs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			info, err := c.ContainerInspect(cmd.Context(), args[0], client.ContainerInspectOptions{})
			if err != nil {
				return err
			}
			body, err := c.ContainerLogs(cmd.Context(), info.Container.ID, o)
			if err != nil {
				return err
			}
			defer body.Close()
			if info.Container.Config != nil && info.Container.Config.Tty {
				_, err = io.Copy(s.Out, body)
			} else {
				_, err = stdcopy.StdCopy(s.Out, s.Err, body)
			}
			return err
		},
		ValidArgsFunction: completeNames(s, 1),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Follow, "follow", "f", false, "Keep showing what is written")
	fs.StringVar(&o.Since, "since", "", `Show logs since a time (e.g. "2013-01-02T13:23:37Z") or for a while (e.g. "42m")`)
	fs.StringVar(&o.Until, "until", "", `Show logs before a time (e.g. "2013-01-02T13:23:37Z") or a while ago (e.g. "42m")`)
	fs.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show the time of each line")
	fs.BoolVar(&o.Details, "details", false, "Show the attributes given with --log-opt")
	fs.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	return cmd
}
