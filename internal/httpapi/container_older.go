package httpapi

import (
	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

// olderSummary is how versions before 1.52 list a container: a port that is not
// published has no address at all.
type olderSummary struct {
	container.Summary
	Ports []olderPort
}

type olderPort struct {
	IP          string `json:",omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

func olderSummaries(list []container.Summary) []olderSummary {
	out := make([]olderSummary, len(list))
	for i, c := range list {
		out[i] = olderSummary{Summary: c, Ports: make([]olderPort, len(c.Ports))}
		for n, p := range c.Ports {
			out[i].Ports[n] = olderPort{PrivatePort: p.PrivatePort, PublicPort: p.PublicPort, Type: p.Type}
			if p.IP.IsValid() {
				out[i].Ports[n].IP = p.IP.String()
			}
		}
	}
	return out
}

// olderContainer changes c to what versions before 1.52 had.
func olderContainer(c *container.InspectResponse, v version) *container.InspectResponse {
	if c.GraphDriver == nil {
		c.GraphDriver = &storage.DriverData{Name: c.Driver}
		if s := c.Storage; s != nil && s.RootFS != nil && s.RootFS.Snapshot != nil {
			c.GraphDriver.Name = s.RootFS.Snapshot.Name
		}
	}
	c.Storage = nil
	if c.NetworkSettings != nil && v.before(45) {
		for name, endpoint := range c.NetworkSettings.Networks {
			if endpoint != nil && container.NetworkMode(name).IsUserDefined() {
				endpoint.Aliases = appendMissing(endpoint.Aliases, shortID(c.ID), c.Config.Hostname)
			}
		}
	}
	return c
}

// olderContainerFields are members that versions before 1.52 had and today's
// type lacks: the address on the default bridge, repeated at the top, and the
// hardware address that was asked for.
func olderContainerFields(c *container.InspectResponse, mac networktypes.HardwareAddr) fields {
	network := fields{
		"Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
		"SecondaryIPAddresses": nil, "SecondaryIPv6Addresses": nil,
		"EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
		"IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
	}
	if c.NetworkSettings != nil && c.NetworkSettings.Networks["bridge"] != nil {
		bridge := c.NetworkSettings.Networks["bridge"]
		network["EndpointID"] = bridge.EndpointID
		network["Gateway"] = bridge.Gateway
		network["GlobalIPv6Address"] = bridge.GlobalIPv6Address
		network["GlobalIPv6PrefixLen"] = bridge.GlobalIPv6PrefixLen
		network["IPAddress"] = bridge.IPAddress
		network["IPPrefixLen"] = bridge.IPPrefixLen
		network["IPv6Gateway"] = bridge.IPv6Gateway
		network["MacAddress"] = bridge.MacAddress
	}
	config := fields{"OnBuild": nil}
	if len(mac) > 0 {
		config["MacAddress"] = mac
	}
	return fields{"NetworkSettings": network, "Config": config}
}
