package image

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewImport makes the command "import".
func NewImport(s *session.Session) *cobra.Command {
	var message, platform string
	var changes opt.List
	cmd := &cobra.Command{
		Use:         "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
		Short:       "Make an image from a tar archive of a file system",
		Args:        session.MinArgs(1),
		Annotations: aliases("image import", "import"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := ""
			if len(args) > 1 {
				ref = args[1]
			}
			opts := client.ImageImportOptions{Message: message, Changes: changes.Values}
			if platform != "" {
				p, err := ParsePlatform(platform)
				if err != nil {
					return err
				}
				opts.Platform = *p
			}
			src, err := importSource(s, args[0])
			if err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			body, err := c.ImageImport(cmd.Context(), src, ref, opts)
			if err != nil {
				return err
			}
			defer body.Close()
			return progress(s.Out).Copy(body)
		},
	}
	fs := cmd.Flags()
	fs.VarP(&changes, "change", "c", "Dockerfile instruction to apply to the image")
	fs.StringVarP(&message, "message", "m", "", "Message of the image")
	fs.StringVar(&platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Platform of the image")
	return cmd
}

func importSource(s *session.Session, name string) (client.ImageImportSource, error) {
	switch {
	case name == "-":
		return client.ImageImportSource{Source: s.In, SourceName: "-"}, nil
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return client.ImageImportSource{SourceName: name}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return client.ImageImportSource{}, err
	}
	return client.ImageImportSource{Source: io.Reader(f), SourceName: "-"}, nil
}
