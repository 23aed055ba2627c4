package image

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewPush makes the command "push".
func NewPush(s *session.Session) *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:         "push [OPTIONS] NAME[:TAG]",
		Short:       "Send an image to a registry",
		Args:        session.ExactArgs(1),
		Annotations: aliases("image push", "push"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := completeName(s, args[0], all, quiet)
			if err != nil {
				return err
			}
			opts := client.ImagePushOptions{All: all}
			if platform != "" {
				if opts.Platform, err = ParsePlatform(platform); err != nil {
					return err
				}
			}
			if opts.RegistryAuth, err = authFor(s, ref); err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.ImagePush(cmd.Context(), ref.Familiar(), opts)
			if err != nil {
				return err
			}
			defer res.Close()
			if quiet {
				p := progress(io.Discard)
				if err := p.Copy(res); err != nil {
					return err
				}
				fmt.Fprintln(s.Out, ref)
				return nil
			}
			p := progress(s.Out)
			p.Aux = func(raw json.RawMessage) { pushNote(s, raw) }
			return p.Copy(res)
		},
		ValidArgsFunction: completeImages(s, 1),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all-tags", "a", false, "Send every tag of the repository")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Show only the name")
	fs.StringVar(&platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Send only this platform of the image")
	fs.Bool("disable-content-trust", true, "Skip image signing")
	fs.Lookup("disable-content-trust").Hidden = true
	return cmd
}

// pushNote tells that only a part of a multi-platform image was sent.
func pushNote(s *session.Session, raw json.RawMessage) {
	var aux struct {
		ManifestPushedInsteadOfIndex bool `json:"manifestPushedInsteadOfIndex"`
		SelectedManifest             struct{ Digest string }
	}
	if json.Unmarshal(raw, &aux) == nil && aux.ManifestPushedInsteadOfIndex {
		fmt.Fprintf(s.Err, "Not all platforms of the image are present; only %s was pushed\n", aux.SelectedManifest.Digest)
	}
}
