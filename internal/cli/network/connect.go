package network

import (
	"net/netip"

	networktypes "github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type connectOptions struct {
	ip, ip6                         string
	links, aliases, linkLocal, opts opt.List
	gwPriority                      int
}

func newConnect(s *session.Session) *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect [OPTIONS] NETWORK CONTAINER",
		Short: "Connect a container to a network",
		Args:  session.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ep, err := o.endpoint()
			if err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			return c.NetworkConnect(cmd.Context(), args[0], client.NetworkConnectOptions{Container: args[1], EndpointConfig: ep})
		},
		ValidArgsFunction: complete(s, 1),
	}
	fs := cmd.Flags()
	fs.StringVar(&o.ip, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	fs.StringVar(&o.ip6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	fs.Var(&o.links, "link", "Link to another container")
	fs.Var(&o.aliases, "alias", "Name of the container in the network")
	fs.Var(&o.linkLocal, "link-local-ip", "Link-local address")
	fs.Var(&o.opts, "driver-opt", "Option of the network's driver")
	fs.IntVar(&o.gwPriority, "gw-priority", 0, "Priority as the default gateway; the highest wins")
	return cmd
}

func (o *connectOptions) endpoint() (*networktypes.EndpointSettings, error) {
	ep := &networktypes.EndpointSettings{
		Links: o.links.Values, Aliases: o.aliases.Values, GwPriority: o.gwPriority,
		IPAMConfig: &networktypes.EndpointIPAMConfig{},
	}
	if len(o.opts.Values) > 0 {
		ep.DriverOpts = opt.ToMap(o.opts.Values)
	}
	var err error
	if o.ip != "" {
		if ep.IPAMConfig.IPv4Address, err = netip.ParseAddr(o.ip); err != nil {
			return nil, err
		}
	}
	if o.ip6 != "" {
		if ep.IPAMConfig.IPv6Address, err = netip.ParseAddr(o.ip6); err != nil {
			return nil, err
		}
	}
	for _, v := range o.linkLocal.Values {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return nil, err
		}
		ep.IPAMConfig.LinkLocalIPs = append(ep.IPAMConfig.LinkLocalIPs, a)
	}
	return ep, nil
}
