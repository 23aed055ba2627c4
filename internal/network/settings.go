package network

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/errs"
)

// The texts are Docker's.
var (
	errStaticAddress = errors.New("user specified IP address is supported on user defined networks only")
	errAutomatic     = errors.New("user specified IP address is supported only when connecting to networks with user configured subnets")
	errAlias         = errors.New("network-scoped alias is supported only for containers in user defined networks")
)

// Check implements engine.Sandboxes.
func (s *Service) Check(_ context.Context, mode string, endpoints map[string]*networktypes.EndpointSettings) error {
	_, err := s.settingsFor(mode, endpoints)
	return err
}

// settingsFor finds and checks the caller's settings for the network of mode.
func (s *Service) settingsFor(mode string, endpoints map[string]*networktypes.EndpointSettings) (*networktypes.EndpointSettings, error) {
	name, err := s.resolve(mode)
	if err != nil {
		return nil, err
	}
	if name != networktypes.NetworkBridge {
		return nil, errs.New(errs.InvalidArgument, "network %s has no endpoints", name)
	}
	var found *networktypes.EndpointSettings
	for key, e := range endpoints {
		other, err := s.resolve(key)
		if err != nil {
			return nil, err
		}
		if other != name {
			return nil, errs.New(errs.InvalidArgument, "container cannot be connected to network %s and to network %s", name, other)
		}
		if e != nil {
			found = e
		}
	}
	return found, s.checkSettings(name, found)
}

// checkSettings collects all that is wrong with settings, in Docker's order.
func (s *Service) checkSettings(network string, e *networktypes.EndpointSettings) error {
	if e == nil {
		return nil
	}
	var asked networktypes.EndpointIPAMConfig
	if e.IPAMConfig != nil {
		asked = *e.IPAMConfig
	}
	var all []string
	if asked.IPv4Address.IsValid() || asked.IPv6Address.IsValid() {
		all = append(all, errStaticAddress.Error())
	}
	if len(e.Aliases) > 0 {
		all = append(all, errAlias.Error())
	}
	all = append(all, s.checkAddresses(&asked)...)
	if mac := e.MacAddress; len(mac) != 0 && (len(mac) != 6 || mac[0]&1 != 0) {
		all = append(all, "invalid MAC address: "+mac.String())
	}
	if len(all) == 0 {
		return nil
	}
	list := all[0]
	if len(all) > 1 {
		list = "* " + strings.Join(all, "\n* ")
	}
	return errs.New(errs.InvalidArgument, "invalid config for network %s: invalid endpoint settings:\n%s", network, list)
}

// checkAddresses tells what is wrong with the addresses themselves, and with them in
// the network "bridge", which has a subnet that somebody chose if there is a BIP.
func (s *Service) checkAddresses(c *networktypes.EndpointIPAMConfig) (all []string) {
	v4, v6 := c.IPv4Address, c.IPv6Address
	if v4.IsValid() && (!v4.Unmap().Is4() || v4.Unmap().IsUnspecified()) {
		all = append(all, "invalid IPv4 address: "+v4.String())
	}
	if v6.IsValid() && (!v6.Is6() || v6.Is4In6() || v6.Zone() != "" || v6.IsUnspecified()) {
		all = append(all, "invalid IPv6 address: "+v6.String())
	}
	for _, ip := range c.LinkLocalIPs {
		switch {
		case ip.IsUnspecified():
			all = append(all, "invalid link-local IP address: "+ip.String())
		case !ip.Is4() || !ip.IsLinkLocalUnicast():
			all = append(all, "invalid link local IP address: "+ip.String()) // what Docker says at start
		}
	}
	if v4.IsValid() && !s.opts.BIP.IsValid() {
		all = append(all, errAutomatic.Error())
	} else if v4.IsValid() && !s.opts.BIP.Masked().Contains(v4.Unmap()) {
		all = append(all, "no configured subnet or ip-range contain the IP address "+v4.String())
	}
	if v6.IsValid() {
		all = append(all, errAutomatic.Error())
	}
	return all
}

// linkLocal are the addresses that an endpoint has besides its own.
func linkLocal(e *networktypes.EndpointSettings) []netip.Addr {
	if e == nil || e.IPAMConfig == nil {
		return nil
	}
	return e.IPAMConfig.LinkLocalIPs
}
