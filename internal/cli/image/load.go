package image

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewLoad makes the command "load".
func NewLoad(s *session.Session) *cobra.Command {
	var input string
	var quiet bool
	var platforms opt.List
	cmd := &cobra.Command{
		Use:         "load [OPTIONS]",
		Short:       "Load images from an archive or STDIN",
		Args:        session.NoArgs,
		Annotations: aliases("image load", "load"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := openArchive(s, input)
			if err != nil {
				return err
			}
			defer in.Close()
			opts := client.ImageLoadOptions{Quiet: quiet || !s.OutIsTerminal()}
			if opts.Platforms, err = parsePlatforms(platforms.Values); err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.ImageLoad(cmd.Context(), in, opts)
			if err != nil {
				return err
			}
			defer res.Close()
			return progress(s.Out).Copy(res)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&input, "input", "i", "", "Read from a tar archive instead of STDIN")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Do not show the progress")
	fs.Var(&platforms, "platform", "Load only this platform of multi-platform images")
	return cmd
}

func openArchive(s *session.Session, name string) (io.ReadCloser, error) {
	if name != "" {
		return os.Open(name)
	}
	if s.InIsTerminal() {
		return nil, errors.New("requested load from stdin, but stdin is empty")
	}
	return io.NopCloser(s.In), nil
}
