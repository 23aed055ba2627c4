package network

import (
	"errors"
	"fmt"
	"net/netip"

	networktypes "github.com/moby/moby/api/types/network"
)

// addressPlan collects a network's subnets with what belongs to each.
type addressPlan struct{ config []networktypes.IPAMConfig }

func (p *addressPlan) find(a netip.Addr) *networktypes.IPAMConfig {
	for i := range p.config {
		if p.config[i].Subnet.Contains(a) {
			return &p.config[i]
		}
	}
	return nil
}

func (p *addressPlan) addSubnet(v string) error {
	subnet, err := netip.ParsePrefix(v)
	if err != nil {
		return fmt.Errorf("invalid subnet %s: %w", v, err)
	}
	for _, have := range p.config {
		if have.Subnet.Overlaps(subnet) {
			return errors.New("multiple overlapping subnet configuration is not supported")
		}
	}
	p.config = append(p.config, networktypes.IPAMConfig{Subnet: subnet})
	return nil
}

func (p *addressPlan) addRange(v string) error {
	r, err := netip.ParsePrefix(v)
	if err != nil {
		return fmt.Errorf("invalid ip-range %s: %w", v, err)
	}
	c := p.find(r.Addr())
	if c == nil {
		return fmt.Errorf("no matching subnet for range %s", v)
	}
	if c.IPRange.IsValid() {
		return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", v, c.IPRange, c.Subnet)
	}
	c.IPRange = r
	return nil
}

func (p *addressPlan) addGateway(v string) error {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return fmt.Errorf("invalid gateway %s: %w", v, err)
	}
	c := p.find(a)
	if c == nil {
		return fmt.Errorf("no matching subnet for gateway %s", v)
	}
	if c.Gateway.IsValid() {
		return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", v, c.Gateway, c.Subnet)
	}
	c.Gateway = a
	return nil
}

func (p *addressPlan) reserve(name, v string) error {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return fmt.Errorf("invalid aux-address %s: %w", v, err)
	}
	c := p.find(a)
	if c == nil {
		return fmt.Errorf("no matching subnet for aux-address %s", v)
	}
	if c.AuxAddress == nil {
		c.AuxAddress = map[string]netip.Addr{}
	}
	c.AuxAddress[name] = a
	return nil
}
