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
	return found, checkSettings(name, found)
}

func checkSettings(network string, e *networktypes.EndpointSettings) error {
	if e == nil {
		return nil
	}
	var all []string
	if c := e.IPAMConfig; c != nil && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
		all = append(all, errStaticAddress.Error())
	}
	for _, ip := range linkLocal(e) {
		if !ip.Is4() || !ip.IsLinkLocalUnicast() {
			all = append(all, "invalid link local IP address: "+ip.String())
		}
	}
	if len(e.Aliases) > 0 {
		all = append(all, errAlias.Error())
	}
	if mac := e.MacAddress; len(mac) != 0 && (len(mac) != 6 || mac[0]&1 != 0) {
		all = append(all, "invalid MAC address: "+mac.String())
	}
	if len(all) == 0 {
		return nil
	}
	return errs.New(errs.InvalidArgument, "invalid config for network %s: invalid endpoint settings:\n%s", network, strings.Join(all, "\n"))
}

// linkLocal are the addresses that an endpoint has besides its own.
func linkLocal(e *networktypes.EndpointSettings) []netip.Addr {
	if e == nil || e.IPAMConfig == nil {
		return nil
	}
	return e.IPAMConfig.LinkLocalIPs
}
