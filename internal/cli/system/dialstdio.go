package system

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// newDialStdio makes the hidden command that joins stdin and stdout with the
// daemon's socket: how a client reaches a daemon over ssh.
func newDialStdio(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:    "dial-stdio",
		Short:  "Connect STDIN and STDOUT with the daemon",
		Args:   session.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			conn, err := c.Dial(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			done := make(chan error, 2)
			go func() {
				_, err := io.Copy(conn, s.In)
				if cw, ok := conn.(client.CloseWriter); ok && err == nil {
					err = cw.CloseWrite()
				}
				if err != nil {
					done <- err
				}
			}()
			go func() {
				_, err := io.Copy(s.Out, conn)
				done <- err
			}()
			return <-done
		},
	}
}
