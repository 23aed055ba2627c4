package system

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/image"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
	"github.com/gantry-run/gantry/internal/errs"
)

// The kinds that --type takes.
const (
	kindContainer = "container"
	kindImage     = "image"
	kindNetwork   = "network"
	kindVolume    = "volume"
)

// kinds is everything that Docker has a type for, in the order of its message.
func kinds() []string {
	return []string{"config", kindContainer, kindImage, kindNetwork, "node", "plugin", "secret", "service", "task", kindVolume}
}

// NewInspect makes the command "inspect", which finds objects of any kind.
func NewInspect(s *session.Session) *cobra.Command {
	var format, kind string
	var size bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short: "Show any objects in detail",
		Args:  session.MinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("type") && !slices.Contains(kinds(), kind) {
				if kind == "" {
					return fmt.Errorf(`type is empty: must be one of %s`, quotedKinds())
				}
				return fmt.Errorf(`unknown type: %q: must be one of %s`, kind, quotedKinds())
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			f := finder{cmd: cmd, c: c, kind: kind, size: size, warn: s.Err}
			return s.Inspect(format, args, f.find)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	fs.StringVar(&kind, "type", "", "Look only for objects of this kind")
	fs.BoolVarP(&size, "size", "s", false, "Show file sizes of containers")
	return cmd
}

func quotedKinds() string {
	q := kinds()
	for i, k := range q {
		q[i] = fmt.Sprintf("%q", k)
	}
	return strings.Join(q, ", ")
}

// finder looks for an object of each kind in turn.
type finder struct {
	cmd  *cobra.Command
	c    *client.Client
	kind string // "": any
	size bool
	warn io.Writer
}

func (f *finder) find(name string) (render.Document, error) {
	ctx := f.cmd.Context()
	lookups := []struct {
		kind string
		get  func() (render.Document, error)
	}{
		{kindContainer, func() (render.Document, error) {
			r, err := f.c.ContainerInspect(ctx, name, client.ContainerInspectOptions{Size: f.size})
			return render.Document{Typed: &r.Container, Raw: r.Raw}, err
		}},
		{kindImage, func() (render.Document, error) { return image.Document(f.cmd, f.c, name, client.ImageInspectOptions{}) }},
		{kindNetwork, func() (render.Document, error) {
			r, err := f.c.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
			return render.Document{Typed: &r.Network, Raw: r.Raw}, err
		}},
		{kindVolume, func() (render.Document, error) {
			r, err := f.c.VolumeInspect(ctx, name)
			return render.Document{Typed: &r.Volume, Raw: r.Raw}, err
		}},
	}
	for _, l := range lookups {
		if f.kind != "" && f.kind != l.kind {
			continue
		}
		if l.kind == kindContainer && name == "" {
			return render.Document{}, errs.New(errs.InvalidArgument, "invalid container name or ID: value is empty")
		}
		doc, err := l.get()
		if err == nil && f.size && l.kind != kindContainer {
			fmt.Fprintf(f.warn, "WARNING: --size ignored for %s\n", l.kind)
		}
		if err == nil || f.kind != "" || !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.InvalidArgument) {
			return doc, err
		}
	}
	return f.findSwarm(name)
}

// findSwarm looks among the objects that only a swarm has.
func (f *finder) findSwarm(name string) (render.Document, error) {
	ctx := f.cmd.Context()
	lookups := []struct {
		kind string
		get  func() (render.Document, error)
	}{
		{"service", func() (render.Document, error) {
			r, err := f.c.ServiceInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
		{"task", func() (render.Document, error) {
			r, err := f.c.TaskInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
		{"node", func() (render.Document, error) {
			r, err := f.c.NodeInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
		{"plugin", func() (render.Document, error) {
			r, err := f.c.PluginInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
		{"secret", func() (render.Document, error) {
			r, err := f.c.SecretInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
		{"config", func() (render.Document, error) {
			r, err := f.c.ConfigInspect(ctx, name)
			return render.Document{Typed: &r.Value, Raw: r.Raw}, err
		}},
	}
	for _, l := range lookups {
		if f.kind == l.kind {
			return l.get()
		}
		if f.kind != "" {
			continue
		}
		// Outside a swarm the daemon refuses; then there is no such object.
		if doc, err := l.get(); err == nil {
			return doc, nil
		}
	}
	return render.Document{}, session.NotFound(name)
}
