package create

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// attachment is one --network value.
type attachment struct {
	target       string
	aliases      []string
	links        []string
	driverOpts   map[string]string
	ip, ip6, mac string
	linkLocal    []string
	gwPriority   int
}

func (a *attachment) isPlain() bool {
	return len(a.aliases)+len(a.links)+len(a.driverOpts)+len(a.linkLocal) == 0 &&
		a.ip == "" && a.ip6 == "" && a.mac == "" && a.gwPriority == 0
}

// networks is --network, a name or a list of key=value fields.
type networks struct{ values []attachment }

func (n *networks) String() string { return "" }
func (n *networks) Type() string   { return "network" }

func (n *networks) Set(v string) error {
	a := attachment{target: v}
	if isLongNetwork(v) {
		var err error
		if a, err = parseNetwork(v); err != nil {
			return err
		}
	}
	n.values = append(n.values, a)
	return nil
}

// isLongNetwork tells whether v holds word=something, as no network name can
// be told from the long form otherwise.
func isLongNetwork(v string) bool {
	for i := 1; i < len(v)-1; i++ {
		if v[i] == '=' && wordByte(v[i-1]) && wordByte(v[i+1]) {
			return true
		}
	}
	return false
}

func wordByte(c byte) bool { return c == '_' || alnum(c) }

func parseNetwork(v string) (attachment, error) {
	var a attachment
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return a, err
	}
	for _, field := range fields {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return a, fmt.Errorf("invalid field %s", field)
		}
		val = strings.TrimSpace(val)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "name":
			a.target = val
		case "alias":
			a.aliases = append(a.aliases, val)
		case "driver-opt":
			k, o, ok := strings.Cut(val, "=")
			if !ok || k == "" {
				return a, errors.New("invalid key value pair format in driver options")
			}
			if a.driverOpts == nil {
				a.driverOpts = map[string]string{}
			}
			a.driverOpts[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(o)
		case "ip":
			a.ip = val
		case "ip6":
			a.ip6 = val
		case "mac-address":
			a.mac = val
		case "link-local-ip":
			a.linkLocal = append(a.linkLocal, val)
		case "gw-priority":
			if a.gwPriority, err = strconv.Atoi(val); err != nil {
				return a, fmt.Errorf("invalid gw-priority (%s): %w", val, errors.Unwrap(err))
			}
		default:
			return a, fmt.Errorf("invalid field key %s", key)
		}
	}
	if a.target == "" {
		return a, errors.New("network name/id is not specified")
	}
	return a, nil
}

func (f *Flags) networkMode() string {
	if len(f.networks.values) == 0 {
		return network.NetworkDefault
	}
	return f.networks.values[0].target
}

// endpoints merges the flags that describe the first network (--ip,
// --network-alias, …) into it and converts all of them.
func (f *Flags) endpoints() (*network.NetworkingConfig, error) {
	out := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	list := append([]attachment(nil), f.networks.values...)
	if len(list) == 0 {
		list = []attachment{{target: network.NetworkDefault}}
	}
	user, other := false, false
	for i := range list {
		a := &list[i]
		if a.target == "" {
			return nil, errors.New("no name set for network")
		}
		defined := container.NetworkMode(a.target).IsUserDefined()
		user, other = user || defined, other || !defined
		if i == 0 {
			if err := f.applyFirst(a, defined); err != nil {
				return nil, err
			}
		}
		if !defined && len(a.aliases) > 0 {
			return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
		}
		if out.EndpointsConfig[a.target] != nil {
			return nil, fmt.Errorf("network %q is specified multiple times", a.target)
		}
		ep, err := a.settings()
		if err != nil {
			return nil, err
		}
		out.EndpointsConfig[a.target] = ep
	}
	if len(list) > 1 && user && other {
		return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	if len(list) == 1 && list[0].isPlain() {
		// The network mode says it all; older daemons refuse more.
		out.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	return out, nil
}

func (f *Flags) applyFirst(a *attachment, userDefined bool) error {
	conflict := func(flag, what string) error {
		return fmt.Errorf("conflicting options: cannot specify both --%s and per-network %s", flag, what)
	}
	if len(f.aliases.Values) > 0 {
		if len(a.aliases) > 0 {
			return conflict("network-alias", "alias")
		}
		a.aliases = f.aliases.Values
	}
	if len(f.links.Values) > 0 && userDefined {
		a.links = f.links.Values
	}
	if f.ip != "" {
		if a.ip != "" {
			return conflict("ip", "IPv4 address")
		}
		a.ip = f.ip
	}
	if f.ip6 != "" {
		if a.ip6 != "" {
			return conflict("ip6", "IPv6 address")
		}
		a.ip6 = f.ip6
	}
	if f.macAddress != "" {
		if a.mac != "" {
			return conflict("mac-address", "MAC address")
		}
		a.mac = f.macAddress
	}
	if len(f.linkLocalIPs.Values) > 0 {
		if len(a.linkLocal) > 0 {
			return conflict("link-local-ip", "link-local IP addresses")
		}
		a.linkLocal = f.linkLocalIPs.Values
	}
	return nil
}

func (a *attachment) settings() (*network.EndpointSettings, error) {
	ep := &network.EndpointSettings{
		Links: a.links, Aliases: a.aliases, DriverOpts: a.driverOpts, GwPriority: a.gwPriority,
	}
	if a.mac != "" {
		hw, err := net.ParseMAC(strings.TrimSpace(a.mac))
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", a.mac)
		}
		ep.MacAddress = network.HardwareAddr(hw)
	}
	if a.ip == "" && a.ip6 == "" && len(a.linkLocal) == 0 {
		return ep, nil
	}
	ep.IPAMConfig = &network.EndpointIPAMConfig{}
	var err error
	if a.ip != "" {
		if ep.IPAMConfig.IPv4Address, err = netip.ParseAddr(a.ip); err != nil || !ep.IPAMConfig.IPv4Address.Is4() {
			return nil, fmt.Errorf("invalid IPv4 address: %s", a.ip)
		}
	}
	if a.ip6 != "" {
		if ep.IPAMConfig.IPv6Address, err = netip.ParseAddr(a.ip6); err != nil || !ep.IPAMConfig.IPv6Address.Is6() {
			return nil, fmt.Errorf("invalid IPv6 address: %s", a.ip6)
		}
	}
	for _, v := range a.linkLocal {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("invalid link-local address: %s", v)
		}
		ep.IPAMConfig.LinkLocalIPs = append(ep.IPAMConfig.LinkLocalIPs, ip)
	}
	return ep, nil
}
