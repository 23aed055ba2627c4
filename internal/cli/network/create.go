package network

import (
	"errors"
	"fmt"
	"strings"

	networktypes "github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type createOptions struct {
	driver, configFrom, ipamDriver, scope              string
	opts, aux, ipamOpts                                opt.Map
	labels, subnets, ranges, gateways                  opt.List
	internal, ipv4, ipv6, attachable, ingress, onlyCfg bool
}

func newCreate(s *session.Session) *cobra.Command {
	var o createOptions
	o.labels.Check = opt.LabelCheck
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] NETWORK",
		Short: "Create a network",
		Args:  session.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := o.request(cmd.Flags())
			if err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.NetworkCreate(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			for _, w := range res.Warning {
				fmt.Fprintf(s.Err, "WARNING: %s\n", w)
			}
			fmt.Fprintln(s.Out, res.ID)
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.driver, "driver", "d", "bridge", "Driver of the network")
	fs.VarP(&o.opts, "opt", "o", "Option of the driver")
	fs.Var(&o.labels, "label", "Set a label on the network")
	fs.BoolVar(&o.internal, "internal", false, "Cut the network off from the outside")
	fs.BoolVar(&o.ipv4, "ipv4", true, "Use IPv4 addresses")
	fs.BoolVar(&o.ipv6, "ipv6", false, "Use IPv6 addresses")
	fs.BoolVar(&o.attachable, "attachable", false, "Allow containers that are no service's to connect")
	fs.BoolVar(&o.ingress, "ingress", false, "Make it swarm's routing-mesh network")
	fs.StringVar(&o.scope, "scope", "", "Scope of the network")
	fs.BoolVar(&o.onlyCfg, "config-only", false, "Make a configuration without a network")
	fs.StringVar(&o.configFrom, "config-from", "", "Network whose configuration is taken")
	fs.StringVar(&o.ipamDriver, "ipam-driver", "default", "Driver of the address management")
	fs.Var(&o.subnets, "subnet", "Subnet in CIDR notation")
	fs.Var(&o.ranges, "ip-range", "Part of the subnet that containers get addresses from")
	fs.Var(&o.gateways, "gateway", "Gateway of the subnet")
	fs.Var(&o.aux, "aux-address", "Address that the driver may not give away (name=address)")
	fs.Var(&o.ipamOpts, "ipam-opt", "Option of the address management's driver")
	return cmd
}

func (o *createOptions) request(fs *pflag.FlagSet) (client.NetworkCreateOptions, error) {
	ipam, err := o.ipam()
	if err != nil {
		return client.NetworkCreateOptions{}, err
	}
	req := client.NetworkCreateOptions{
		Driver: o.driver, Options: o.opts.Values, IPAM: ipam, Internal: o.internal, Attachable: o.attachable,
		Ingress: o.ingress, Scope: o.scope, ConfigOnly: o.onlyCfg, ConfigFrom: o.configFrom, Labels: opt.ToMap(o.labels.Values),
	}
	if fs.Changed("ipv4") {
		req.EnableIPv4 = &o.ipv4
	}
	if fs.Changed("ipv6") {
		req.EnableIPv6 = &o.ipv6
	}
	return req, nil
}

// ipam matches ranges, gateways and reserved addresses to the subnets that
// contain them.
func (o *createOptions) ipam() (*networktypes.IPAM, error) {
	subnets, ranges, gateways := splitLists(o.subnets.Values), splitLists(o.ranges.Values), splitLists(o.gateways.Values)
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	plan := &addressPlan{}
	for _, v := range subnets {
		if err := plan.addSubnet(v); err != nil {
			return nil, err
		}
	}
	for _, v := range ranges {
		if err := plan.addRange(v); err != nil {
			return nil, err
		}
	}
	for _, v := range gateways {
		if err := plan.addGateway(v); err != nil {
			return nil, err
		}
	}
	for name, v := range o.aux.Values {
		if err := plan.reserve(name, v); err != nil {
			return nil, err
		}
	}
	config := plan.config
	if config == nil {
		config = []networktypes.IPAMConfig{}
	}
	return &networktypes.IPAM{Driver: o.ipamDriver, Options: o.ipamOpts.Values, Config: config}, nil
}

// splitLists accepts the values of one flag separated by commas, too.
func splitLists(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}
