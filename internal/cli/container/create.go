package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/create"
	"github.com/gantry-run/gantry/internal/cli/image"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/reference"
)

// creation are the flags that run and create have beside the container's own.
type creation struct {
	create.Flags
	name, platform, pull string
	quiet                bool
}

// The policies of --pull.
const (
	pullAlways  = "always"
	pullMissing = "missing"
	pullNever   = "never"
)

func (o *creation) register(fs *pflag.FlagSet) {
	o.Flags.Register(fs)
	fs.StringVar(&o.name, "name", "", "Name of the container")
	fs.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Platform of the image, where there are several")
	fs.StringVar(&o.pull, "pull", pullMissing, `When to pull the image ("always", "missing", "never")`)
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "Do not show the progress of a pull")
	fs.Bool("disable-content-trust", true, "Skip image verification")
	fs.Lookup("disable-content-trust").Hidden = true
}

// NewCreate makes the command "create".
func NewCreate(s *session.Session) *cobra.Command {
	var o creation
	cmd := &cobra.Command{
		Use:         "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:       "Create a container without starting it",
		Args:        session.MinArgs(1),
		Annotations: aliases("container create", "create"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return session.WithHelp(cmd, session.ExitFailed, err)
			}
			spec, err := o.build(s, cmd.Flags(), args)
			if err != nil {
				return session.WithHelp(cmd, session.ExitFailed, err)
			}
			id, err := o.create(cmd.Context(), s, spec, s.Err)
			if err != nil {
				return err
			}
			fmt.Fprintln(s.Out, id)
			return nil
		},
		ValidArgsFunction: completeImages(s),
	}
	o.register(cmd.Flags())
	return cmd
}

func (o *creation) check() error {
	switch o.pull {
	case pullAlways, pullMissing, pullNever:
		return nil
	}
	return fmt.Errorf("invalid pull option: '%s': must be one of %q, %q or %q", o.pull, pullAlways, pullMissing, pullNever)
}

func (o *creation) build(s *session.Session, fs *pflag.FlagSet, args []string) (*create.Spec, error) {
	spec, err := o.Flags.Build(fs, args[0], args[1:])
	if err != nil {
		return nil, err
	}
	addProxies(s, spec)
	return spec, nil
}

// addProxies gives the container the proxies of config.json, unless the user
// has set the variables.
func addProxies(s *session.Session, spec *create.Spec) {
	proxies := s.Config().Proxies
	if len(proxies) == 0 {
		return
	}
	p := proxies["default"]
	if ep, err := s.Endpoint(); err == nil {
		if own, ok := proxies[ep.Host]; ok {
			p = own
		}
	}
	have := map[string]bool{}
	for _, e := range spec.Config.Env {
		name, _, _ := strings.Cut(e, "=")
		have[name] = true
	}
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", p.HTTPProxy}, {"HTTPS_PROXY", p.HTTPSProxy}, {"NO_PROXY", p.NoProxy},
		{"FTP_PROXY", p.FTPProxy}, {"ALL_PROXY", p.AllProxy},
	} {
		for _, name := range []string{v.name, strings.ToLower(v.name)} {
			if v.value != "" && !have[name] {
				spec.Config.Env = append(spec.Config.Env, name+"="+v.value)
			}
		}
	}
}

// create makes the container, pulling the image as --pull says, and returns
// its ID. progress gets the pull's output.
func (o *creation) create(ctx context.Context, s *session.Session, spec *create.Spec, progress io.Writer) (string, error) {
	c, err := s.Client()
	if err != nil {
		return "", err
	}
	var platform *ocispec.Platform
	if o.platform != "" {
		if platform, err = image.ParsePlatform(o.platform); err != nil {
			return "", err
		}
	}
	ref, err := reference.ParseAny(spec.Config.Image)
	if err != nil {
		return "", err
	}
	cid, err := openCIDFile(spec.Host.ContainerIDFile)
	if err != nil {
		return "", err
	}
	defer cid.Close()
	warnLocalDNS(s.Err, spec.Host.DNS)
	if spec.UseAPISocket {
		if err := mountAPISocket(s, spec); err != nil {
			return "", err
		}
	}
	pull := func() error {
		return image.Pull(ctx, s, image.PullRequest{Ref: spec.Config.Image, Platform: o.platform, Quiet: o.quiet, Out: progress})
	}
	if o.pull == pullAlways && ref.HasName() {
		if err := pull(); err != nil {
			return "", err
		}
	}
	req := client.ContainerCreateOptions{Config: spec.Config, HostConfig: spec.Host, NetworkingConfig: spec.Network, Platform: platform, Name: o.name}
	res, err := c.ContainerCreate(ctx, req)
	if errs.Is(err, errs.NotFound) && ref.HasName() && o.pull == pullMissing && isMissingImage(err) {
		if !o.quiet {
			fmt.Fprintf(s.Err, "Unable to find image '%s' locally\n", ref.WithDefaultTag().Familiar())
		}
		if err := pull(); err != nil {
			return "", err
		}
		res, err = c.ContainerCreate(ctx, req)
	}
	if err != nil {
		return "", err
	}
	for _, w := range res.Warnings {
		fmt.Fprintf(s.Err, "WARNING: %s\n", w)
	}
	if spec.UseAPISocket {
		if err := copyCredentials(ctx, s, c, res.ID); err != nil {
			return "", err
		}
	}
	return res.ID, cid.Write(res.ID)
}

// isMissingImage tells a missing image, or one for another platform only, from
// a missing network or volume, which have the same status.
func isMissingImage(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "no such image") || strings.Contains(text, "does not match the specified platform")
}

func warnLocalDNS(w io.Writer, servers []netip.Addr) {
	for _, a := range servers {
		if a.IsLoopback() {
			fmt.Fprintf(w, "WARNING: Localhost DNS (%s) may fail in containers.\n", a)
			return
		}
	}
}

// cidFile is --cidfile. It is made before the container, so that two
// containers never claim the same file, and removed if none was created.
type cidFile struct {
	f       *os.File
	written bool
}

func openCIDFile(name string) (*cidFile, error) {
	if name == "" {
		return &cidFile{}, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, errors.New("container ID file found, make sure the other container isn't running or delete " + name)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &cidFile{f: f}, nil
}

func (c *cidFile) Write(id string) error {
	if c.f == nil {
		return nil
	}
	c.written = true
	if _, err := c.f.WriteString(id); err != nil {
		return fmt.Errorf("failed to write the container ID to the file: %w", err)
	}
	return nil
}

func (c *cidFile) Close() {
	if c.f == nil {
		return
	}
	_ = c.f.Close() // Write has reported what matters
	if !c.written {
		_ = os.Remove(c.f.Name()) // it is empty and ours
	}
}
