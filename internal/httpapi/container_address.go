package httpapi

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// askedAddresses are the parts of a create request in which callers write
// addresses. The API's own types take only valid ones.
type askedAddresses struct {
	NetworkingConfig struct {
		EndpointsConfig map[string]struct {
			IPAMConfig struct {
				IPv4Address, IPv6Address string
				LinkLocalIPs             []string
			}
		}
	}
}

// checkAddresses tells what is wrong with addresses of endpoints that are none, in
// Docker 28's words: its decoder took any text.
func checkAddresses(data []byte) error {
	var asked askedAddresses
	if json.Unmarshal(data, &asked) != nil {
		return nil // somebody else has complained already
	}
	endpoints := asked.NetworkingConfig.EndpointsConfig
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		var reasons []string
		check := func(kind, text string) {
			if _, err := netip.ParseAddr(text); err != nil && text != "" {
				reasons = append(reasons, "invalid "+kind+" address: "+text)
			}
		}
		ipam := endpoints[name].IPAMConfig
		check("IPv4", ipam.IPv4Address)
		check("IPv6", ipam.IPv6Address)
		for _, text := range ipam.LinkLocalIPs {
			check("link-local IP", text)
		}
		if len(reasons) == 0 {
			continue
		}
		list := reasons[0]
		if len(reasons) > 1 {
			list = "* " + strings.Join(reasons, "\n* ")
		}
		if name == "default" {
			name = "bridge"
		}
		return errs.New(errs.InvalidArgument, "invalid config for network %s: invalid endpoint settings:\n%s", name, list)
	}
	return nil
}
