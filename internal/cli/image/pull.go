package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/cli/stream"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/reference"
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
			ref, err := completeName(s, r.Ref, r.All, r.Quiet)
			if err != nil {
				return err
			}
			if err := Pull(cmd.Context(), s, r); err != nil {
				return err
			}
			fmt.Fprintln(s.Out, ref)
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

// completeName reads the name of an image to pull or push. Unless all tags are
// meant it gets one, and the user is told when it is assumed.
func completeName(s *session.Session, name string, allTags, quiet bool) (reference.Ref, error) {
	ref, err := reference.Parse(name)
	switch {
	case err != nil:
		return ref, err
	case allTags && !ref.IsNameOnly():
		return ref, errors.New("tag can't be used with --all-tags/-a")
	case !allTags && ref.IsNameOnly():
		ref = ref.WithDefaultTag()
		if !quiet {
			fmt.Fprintf(s.Out, "Using default tag: %s\n", ref.Tag)
		}
	}
	return ref, nil
}

// Pull gets an image with the user's credentials and shows the progress.
func Pull(ctx context.Context, s *session.Session, r PullRequest) error {
	ref, err := reference.Parse(r.Ref)
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
	auth, err := authFor(s, ref)
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
func authFor(s *session.Session, ref reference.Ref) (string, error) {
	a, err := credential.Get(s.Config(), credential.ServerOf(ref.Domain))
	if err != nil {
		return "", err
	}
	return credential.Encode(a)
}

func progress(out io.Writer) render.Progress {
	_, w := stream.SizeOf(out)
	return render.Progress{Out: out, TTY: stream.IsTerminal(out), Width: w}
}
