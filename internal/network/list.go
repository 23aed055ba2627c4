package network

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// Names of the default bridge's options, Docker's.
const (
	optDefaultBridge = "com.docker.network.bridge.default_bridge"
	optICC           = "com.docker.network.bridge.enable_icc"
	optMasquerade    = "com.docker.network.bridge.enable_ip_masquerade"
	optHostBinding   = "com.docker.network.bridge.host_binding_ipv4"
	optBridgeName    = "com.docker.network.bridge.name"
	optMTU           = "com.docker.network.driver.mtu"
)

// names of the networks that there are, in Docker's order of creation.
func (s *Service) names() []string {
	out := []string{networktypes.NetworkNone, networktypes.NetworkHost}
	if s.net != nil {
		out = append([]string{networktypes.NetworkBridge}, out...)
	}
	return out
}

// resolve finds a network by name, ID or ID prefix, in this order.
func (s *Service) resolve(ref string) (string, error) {
	if ref == "" || ref == networktypes.NetworkDefault {
		ref = networktypes.NetworkBridge
	}
	var partial []string
	for _, name := range s.names() {
		id := s.record.Networks[name].ID
		if ref == name || ref == id {
			return name, nil
		}
		if strings.HasPrefix(id, ref) {
			partial = append(partial, name)
		}
	}
	switch len(partial) {
	case 0:
		return "", errs.New(errs.NotFound, "network %s not found", ref)
	case 1:
		return partial[0], nil
	default:
		return "", errs.New(errs.InvalidArgument, "network %s is ambiguous (%d matches found based on ID prefix)", ref, len(partial))
	}
}

// Inspect describes a network with its containers.
func (s *Service) Inspect(ctx context.Context, id string) (networktypes.Inspect, error) {
	name, err := s.resolve(id)
	if err != nil {
		return networktypes.Inspect{}, err
	}
	out := networktypes.Inspect{Network: s.describe(name), Containers: map[string]networktypes.EndpointResource{}}
	if name != networktypes.NetworkBridge {
		return out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, b := range s.boxes {
		if b.ready {
			out.Containers[id] = networktypes.EndpointResource{
				Name: b.name, EndpointID: b.id, MacAddress: b.mac,
				IPv4Address: netip.PrefixFrom(b.ip, s.net.bridge.subnet.Bits()),
			}
		}
	}
	return out, nil
}

// List gives the networks that pass the filters.
func (s *Service) List(ctx context.Context, filters engine.Filters) ([]networktypes.Summary, error) {
	match, err := parseFilters(filters)
	if err != nil {
		return nil, err
	}
	out := []networktypes.Summary{}
	for _, name := range s.names() {
		if n := s.describe(name); match(n) {
			out = append(out, networktypes.Summary{Network: n})
		}
	}
	return out, nil
}

func (s *Service) describe(name string) networktypes.Network {
	n := networktypes.Network{
		Name: name, ID: s.record.Networks[name].ID, Created: s.record.Networks[name].Created,
		Scope: "local", Driver: drivers[name], EnableIPv4: true,
		IPAM:    networktypes.IPAM{Driver: "default"},
		Options: map[string]string{}, Labels: map[string]string{},
	}
	if name == networktypes.NetworkBridge {
		s.describeBridge(&n)
	}
	return n
}

// drivers of the predefined networks.
var drivers = map[string]string{
	networktypes.NetworkBridge: "bridge",
	networktypes.NetworkHost:   "host",
	networktypes.NetworkNone:   "null",
}

func (s *Service) describeBridge(n *networktypes.Network) {
	ipam := networktypes.IPAMConfig{Subnet: s.net.bridge.subnet, Gateway: s.net.gateway}
	if s.opts.FixedCIDR.IsValid() {
		ipam.IPRange = s.opts.FixedCIDR.Masked()
	}
	if own := s.net.bridge.addr.Addr(); own != s.net.gateway {
		ipam.AuxAddress = map[string]netip.Addr{"DefaultGatewayIPv4": s.net.gateway}
		ipam.Gateway = own
	}
	n.IPAM.Config = []networktypes.IPAMConfig{ipam}
	binding := netip.IPv4Unspecified()
	if s.opts.DefaultBindIP.Is4() {
		binding = s.opts.DefaultBindIP
	}
	n.Options = map[string]string{
		optDefaultBridge: "true",
		optICC:           strconv.FormatBool(s.opts.ICC),
		optMasquerade:    strconv.FormatBool(s.opts.IPMasq),
		optHostBinding:   binding.String(),
		optBridgeName:    s.net.bridge.name,
		optMTU:           strconv.Itoa(s.net.bridge.mtu),
	}
}

// parseFilters makes one predicate of the filters. Values of one key are
// alternatives, keys are conditions, as in Docker.
func parseFilters(filters engine.Filters) (func(networktypes.Network) bool, error) {
	var all []func(networktypes.Network) bool
	for key, values := range filters {
		var one func(networktypes.Network) bool
		switch key {
		case "name":
			one = func(n networktypes.Network) bool { return matches(values, n.Name) }
		case "id":
			one = func(n networktypes.Network) bool { return matches(values, n.ID) }
		case "driver":
			one = func(n networktypes.Network) bool { return slices.Contains(values, n.Driver) }
		case "scope":
			one = func(n networktypes.Network) bool { return slices.Contains(values, n.Scope) }
		case "label":
			one = func(n networktypes.Network) bool { return hasLabels(values, n.Labels) }
		case "type":
			for _, v := range values {
				if v != "builtin" && v != "custom" {
					return nil, errs.New(errs.InvalidArgument, "invalid filter: 'type'='%s'", v)
				}
			}
			one = func(networktypes.Network) bool { return slices.Contains(values, "builtin") }
		case "dangling":
			dangling, err := parseBool(values)
			if err != nil {
				return nil, err
			}
			// Predefined networks are never dangling.
			one = func(networktypes.Network) bool { return !dangling }
		default:
			return nil, errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
		}
		if len(values) > 0 {
			all = append(all, one)
		}
	}
	return func(n networktypes.Network) bool {
		for _, one := range all {
			if !one(n) {
				return false
			}
		}
		return true
	}, nil
}

func matches(values []string, s string) bool {
	for _, v := range values {
		if v == s {
			return true
		}
		if ok, err := regexp.MatchString(v, s); err == nil && ok {
			return true
		}
	}
	return false
}

func hasLabels(values []string, labels map[string]string) bool {
	for _, v := range values {
		key, want, given := strings.Cut(v, "=")
		if have, ok := labels[key]; !ok || given && have != want {
			return false
		}
	}
	return true
}

func parseBool(values []string) (bool, error) {
	if len(values) == 1 {
		switch strings.ToLower(values[0]) {
		case "1", "true":
			return true, nil
		case "0", "false":
			return false, nil
		}
	}
	return false, errs.New(errs.InvalidArgument, "invalid filter 'dangling=[%s]'", strings.Join(values, " "))
}

// Prune removes the networks of users that no container has: there are none.
func (s *Service) Prune(_ context.Context, f engine.Filters) (networktypes.PruneReport, error) {
	for key := range f {
		if !slices.Contains([]string{"until", "label", "label!"}, key) {
			return networktypes.PruneReport{}, errs.New(errs.InvalidArgument, "invalid filter '%s'", key)
		}
	}
	if s.opts.Events != nil {
		s.opts.Events.Publish(events.NetworkEventType, events.ActionPrune, "", map[string]string{"reclaimed": "0"})
	}
	return networktypes.PruneReport{}, nil
}

// HostGateway implements engine.Sandboxes.
func (s *Service) HostGateway() netip.Addr {
	if s.net == nil {
		return netip.Addr{}
	}
	return s.net.bridge.addr.Addr()
}
