package registry

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/session"
)

// NewLogout makes the command "logout".
func NewLogout(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [SERVER]",
		Short: "Log out from a registry",
		Args:  session.MaxArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			server, host := credential.HubServer, credential.HubServer
			var others []string
			if len(args) > 0 && args[0] != "" {
				host = credential.HostOf(args[0])
				if server = credential.ServerOf(host); server == host {
					// The forms under which older clients stored credentials.
					others = []string{"https://" + host, "http://" + host, args[0]}
				} else {
					host = server
				}
			}
			var known []string
			for _, key := range append([]string{server}, others...) {
				if credential.Known(s.Config(), key) {
					known = append(known, key)
				}
			}
			fmt.Fprintf(s.Out, "Removing login credentials for %s\n", host)
			return credential.Erase(s.Config(), known...)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}
