package network

import (
	"cmp"
	"net/netip"
	"slices"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// publication is a wish to publish one port of a container.
type publication struct {
	port       networktypes.Port
	hosts      []netip.Addr // one address, or 0.0.0.0 and [::]
	start, end uint16       // host ports to choose from; 0: an ephemeral one
}

// publishPolicy is what a daemon's settings mean for publications.
type publishPolicy struct {
	defaultIP netip.Addr
	ipv6      bool // IPv6 addresses can be served, by the proxy
}

// planPublications reads a request's bindings. Those that leave no choice come
// first, so that a choice never takes what another one needs. It is pure.
func (p publishPolicy) planPublications(req engine.NetworkRequest) ([]publication, error) {
	var out []publication
	for port, bindings := range req.Bindings {
		if err := checkPort(port); err != nil {
			return nil, err
		}
		for _, b := range bindings {
			pub, err := p.plan(port, b)
			if err != nil {
				return nil, err
			}
			out = append(out, pub)
		}
	}
	if req.PublishAll {
		for port := range req.Exposed {
			if len(req.Bindings[port]) > 0 {
				continue
			}
			if err := checkPort(port); err != nil {
				return nil, err
			}
			pub, err := p.plan(port, networktypes.PortBinding{})
			if err != nil {
				return nil, err
			}
			out = append(out, pub)
		}
	}
	slices.SortFunc(out, func(a, b publication) int {
		return cmp.Or(
			cmp.Compare(a.freedom(), b.freedom()),
			cmp.Compare(a.port.Num(), b.port.Num()),
			cmp.Compare(a.port.Proto(), b.port.Proto()),
			cmp.Compare(a.start, b.start),
			a.hosts[0].Compare(b.hosts[0]),
		)
	})
	return slices.CompactFunc(out, publication.equal), nil
}

func (p publishPolicy) plan(port networktypes.Port, b networktypes.PortBinding) (publication, error) {
	pub := publication{port: port}
	ip := b.HostIP.Unmap()
	if !ip.IsValid() {
		ip = p.defaultIP.Unmap()
	}
	switch {
	case !b.HostIP.IsValid() && everywhere(ip):
		pub.hosts = []netip.Addr{netip.IPv4Unspecified()}
		if p.ipv6 && port.Proto() != networktypes.SCTP {
			pub.hosts = append(pub.hosts, netip.IPv6Unspecified())
		}
	case ip.Is6() && !p.ipv6:
		return pub, errs.New(errs.InvalidArgument, "cannot publish port %s on %s: the network has no IPv6 and the userland proxy is disabled", port, ip)
	case ip.Is6() && port.Proto() == networktypes.SCTP:
		return pub, errs.New(errs.InvalidArgument, "cannot publish port %s on %s: the network has no IPv6", port, ip)
	default:
		pub.hosts = []netip.Addr{ip}
	}
	if b.HostPort == "" {
		return pub, nil
	}
	r, err := networktypes.ParsePortRange(b.HostPort)
	if err != nil {
		return pub, errs.New(errs.InvalidArgument, "Error parsing HostPort value:%s:%w", b.HostPort, err)
	}
	pub.start, pub.end = r.Start(), r.End()
	return pub, nil
}

func checkPort(port networktypes.Port) error {
	switch port.Proto() {
	case networktypes.TCP, networktypes.UDP, networktypes.SCTP:
	default:
		return errs.New(errs.InvalidArgument, "invalid proto: %s", port.Proto())
	}
	if port.Num() == 0 {
		return errs.New(errs.InvalidArgument, "invalid port: %s", port)
	}
	return nil
}

// freedom orders publications: a certain port, a range, any port.
func (p publication) freedom() int {
	switch {
	case p.start == 0:
		return 2
	case p.start != p.end:
		return 1
	default:
		return 0
	}
}

func (p publication) equal(q publication) bool {
	return p.freedom() == 0 && p.port == q.port && p.start == q.start && p.end == q.end && slices.Equal(p.hosts, q.hosts)
}

// portMap gives Docker's view: every exposed port, with the host ports in use.
func portMap(req engine.NetworkRequest, rs []*reservation) networktypes.PortMap {
	out := make(networktypes.PortMap, len(req.Exposed)+len(rs))
	for port := range req.Exposed {
		out[port] = nil
	}
	for port := range req.Bindings {
		out[port] = nil
	}
	for _, r := range rs {
		port, _ := networktypes.PortFrom(r.target.Port(), r.proto)
		for _, host := range r.hosts {
			out[port] = append(out[port], networktypes.PortBinding{HostIP: host, HostPort: r.port()})
		}
	}
	return out
}

// livePublications reads back what portMap said of a container that runs.
func livePublications(ports networktypes.PortMap) []publication {
	type key struct {
		port networktypes.Port
		host string
	}
	found := map[key]*publication{}
	for port, bindings := range ports {
		if checkPort(port) != nil {
			continue
		}
		for _, b := range bindings {
			r, err := networktypes.ParsePortRange(b.HostPort)
			if err != nil || r.Start() == 0 || r.Start() != r.End() || !b.HostIP.IsValid() {
				continue
			}
			k := key{port, b.HostPort}
			if !b.HostIP.IsUnspecified() {
				k.host += "@" + b.HostIP.String()
			}
			if found[k] == nil {
				found[k] = &publication{port: port, start: r.Start(), end: r.End()}
			}
			found[k].hosts = append(found[k].hosts, b.HostIP.Unmap())
		}
	}
	out := make([]publication, 0, len(found))
	for _, p := range found {
		slices.SortFunc(p.hosts, netip.Addr.Compare) // IPv4 before IPv6
		out = append(out, *p)
	}
	return out
}
