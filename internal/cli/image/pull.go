package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
)

// NewPull makes the command "pull".
func NewPull(s *session.Session) *cobra.Command {
	var r PullRequest
	cmd := &cobra.Command{
		Use:         "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:       "Get an image from a registry",
		Args:        session.ExactArgs(1),
		Annotations: aliases("image pull", "pull"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Ref, r.Out = args[0], s.Out
			named, err := r.name(s)
			if err != nil {
				return err
			}
			if err := Pull(cmd.Context(), s, r); err != nil {
				return err
			}
			fmt.Fprintln(s.Out, named)
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&r.All, "all-tags", "a", false, "Get every tag of the repository")
	fs.BoolVarP(&r.Quiet, "quiet", "q", false, "Show only the name")
	fs.StringVar(&r.Platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Platform of the image, where there are several")
	fs.Bool("disable-content-trust", true, "Skip image verification")
	fs.Lookup("disable-content-trust").Hidden = true
	return cmd
}

// PullRequest says what to pull.
type PullRequest struct {
	Ref      string
	Platform string
	All      bool
	Quiet    bool
	Out      io.Writer // gets the progress

}

// name checks the reference and gives the canonical name to print. It tells
// the user when the tag is assumed.
func (r *PullRequest) name(s *session.Session) (string, error) {
	named, err := reference.ParseNormalizedNamed(r.Ref)
	switch {
	case err != nil:
		return "", err
	case r.All && !reference.IsNameOnly(named):
		return "", errors.New("tag can't be used with --all-tags/-a")
	case !r.All && reference.IsNameOnly(named):
		named = reference.TagNameOnly(named)
		if tagged, ok := named.(reference.Tagged); ok && !r.Quiet {
			fmt.Fprintf(s.Out, "Using default tag: %s\n", tagged.Tag())
		}
	}
	return named.String(), nil
}

// Pull gets an image with the user's credentials and shows the progress.
func Pull(ctx context.Context, s *session.Session, r PullRequest) error {
	named, err := reference.ParseNormalizedNamed(r.Ref)
	if err != nil {
		return err
	}
	var platforms []ocispec.Platform
	if r.Platform != "" {
		p, err := ParsePlatform(r.Platform)
		if err != nil {
			return err
		}
		platforms = append(platforms, *p)
	}
	auth, err := authFor(s, named)
	if err != nil {
		return err
	}
	c, err := s.Client()
	if err != nil {
		return err
	}
	res, err := c.ImagePull(ctx, r.Ref, client.ImagePullOptions{All: r.All, RegistryAuth: auth, Platforms: platforms})
	if err != nil {
		return err
	}
	defer res.Close()
	out := r.Out
	if r.Quiet {
		out = io.Discard
	}
	return progress(out).Copy(res)
}

// authFor gives the encoded credentials of the registry that a name lies in.
func authFor(s *session.Session, named reference.Named) (string, error) {
	a, err := credential.Get(s.Config(), credential.ServerOf(reference.Domain(named)))
	if err != nil {
		return "", err
	}
	return credential.Encode(a)
}

func progress(out io.Writer) render.Progress {
	_, w := stream.SizeOf(out)
	return render.Progress{Out: out, TTY: stream.IsTerminal(out), Width: w}
}
