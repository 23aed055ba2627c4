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

// addPorts converts --publish and --expose.
func (f *Flags) addPorts(cfg *container.Config, host *container.HostConfig) error {
	exposed := network.PortSet{}
	bindings := network.PortMap{}
	for _, v := range f.publish.Values {
		published, err := ParsePublish(v)
		if err != nil {
			return err
		}
		for _, p := range published {
			exposed[p.Port] = struct{}{}
			bindings[p.Port] = append(bindings[p.Port], p.Binding)
		}
	}
	for _, v := range f.expose.Values {
		if strings.Contains(v, ":") {
			return fmt.Errorf("invalid port format for --expose: %s", v)
		}
		spec, proto, _ := strings.Cut(v, "/")
		start, end, err := parseRange(spec)
		if err != nil {
			return fmt.Errorf("invalid range format for --expose: %s, error: %w", v, err)
		}
		for n := uint32(start); n <= uint32(end); n++ {
			exposed[portOf(uint16(n), proto)] = struct{}{}
		}
	}
	host.PortBindings = bindings
	if len(exposed) > 0 {
		cfg.ExposedPorts = exposed
	}
	return nil
}

// Published is one container port and where it is bound on the host.
type Published struct {
	Port    network.Port
	Binding network.PortBinding
}

// ParsePublish reads one -p value in the short form
// [[ip:]host:]container[/proto], with ranges, or in the long form
// target=…,published=…,protocol=….
func ParsePublish(v string) ([]Published, error) {
	if strings.Contains(v, "=") {
		short, err := shortPublish(v)
		if err != nil {
			return nil, err
		}
		v = short
	}
	spec, proto, _ := strings.Cut(v, "/")
	proto, _, _ = strings.Cut(proto, "/")
	ip, hostPart, containerPart := splitPublish(spec)
	addr, err := hostAddr(ip)
	if err != nil {
		return nil, err
	}
	if containerPart == "" {
		return nil, fmt.Errorf("no port specified: %s<empty>", v)
	}
	start, end, err := parseRange(containerPart)
	if err != nil {
		return nil, errors.New("invalid containerPort: " + containerPart)
	}
	var hostStart, hostEnd uint16
	if hostPart != "" {
		if hostStart, hostEnd, err = parseRange(hostPart); err != nil {
			return nil, errors.New("invalid hostPort: " + hostPart)
		}
	}
	// One container port may have a range of host ports to choose from.
	choose := hostPart != "" && end == start && hostEnd != hostStart
	if hostPart != "" && !choose && end-start != hostEnd-hostStart {
		return nil, fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", containerPart, hostPart)
	}
	switch p := strings.ToLower(proto); p {
	case "", "tcp", "udp", "sctp":
	default:
		return nil, errors.New("invalid proto: " + proto)
	}
	out := make([]Published, 0, int(end-start)+1)
	for i := uint32(0); i <= uint32(end-start); i++ {
		b := network.PortBinding{HostIP: addr}
		switch {
		case choose:
			b.HostPort = hostPart
		case hostPart != "":
			b.HostPort = strconv.Itoa(int(hostStart) + int(i))
		}
		out = append(out, Published{Port: portOf(start+uint16(i), proto), Binding: b})
	}
	return out, nil
}

// splitPublish splits at the last two colons, since an IPv6 address has more.
func splitPublish(v string) (ip, host, ctr string) {
	i := strings.LastIndexByte(v, ':')
	if i < 0 {
		return "", "", v
	}
	rest, ctr := v[:i], v[i+1:]
	if j := strings.LastIndexByte(rest, ':'); j >= 0 {
		return rest[:j], rest[j+1:], ctr
	}
	return "", rest, ctr
}

func hostAddr(v string) (netip.Addr, error) {
	if v == "" {
		return netip.Addr{}, nil
	}
	bare := v
	if v[0] == '[' {
		host, _, err := net.SplitHostPort(v + ":")
		if err != nil {
			return netip.Addr{}, fmt.Errorf("invalid IP address %v: %w", v, err)
		}
		bare = host
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, errors.New("invalid IP address: " + bare)
	}
	return addr, nil
}

// shortPublish rewrites the long form as the short one.
func shortPublish(v string) (string, error) {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return "", err
	}
	var target, published string
	proto := "tcp"
	for _, field := range fields {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return "", fmt.Errorf("invalid field %s", field)
		}
		switch strings.ToLower(key) {
		case "target":
			target = val
		case "published":
			published = val
		case "protocol":
			proto = val
		}
	}
	if published == "" {
		return target + "/" + proto, nil
	}
	return published + ":" + target + "/" + proto, nil
}

func parseRange(v string) (start, end uint16, err error) {
	if v == "" {
		return 0, 0, errors.New("empty string specified for ports")
	}
	first, last, isRange := strings.Cut(v, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if !isRange {
		return uint16(a), uint16(a), nil
	}
	b, err := strconv.ParseUint(last, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if b < a {
		return 0, 0, errors.New("invalid range specified for port: " + v)
	}
	return uint16(a), uint16(b), nil
}

func portOf(n uint16, proto string) network.Port {
	if proto == "" {
		proto = "tcp"
	}
	p, _ := network.PortFrom(n, network.IPProtocol(proto)) // false only for an empty protocol
	return p
}
