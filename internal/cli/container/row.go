package container

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	containertypes "github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/reference"
)

// listRow is a container in a listing; its methods are the placeholders.
type listRow struct {
	render.Base
	c     *containertypes.Summary
	trunc bool
}

func (r *listRow) ID() string {
	if r.trunc {
		return render.ShortID(r.c.ID)
	}
	return r.c.ID
}

// Names leaves out the names under which other containers link to this one,
// unless nothing is to be shortened.
func (r *listRow) Names() string {
	var names []string
	for _, n := range r.c.Names {
		n = trimSlash(n)
		if r.trunc && strings.Contains(n, "/") {
			continue
		}
		names = append(names, n)
	}
	return strings.Join(names, ",")
}

func (r *listRow) Image() string {
	name := r.c.Image
	if name == "" {
		return "<no image>"
	}
	if !r.trunc {
		return name
	}
	if short := render.ShortID(r.c.ImageID); short == render.ShortID(name) {
		return short
	}
	// name:tag@digest is shown without the digest.
	ref, err := reference.Parse(name)
	if err != nil || ref.Tag == "" || ref.Digest == "" {
		return name
	}
	ref.Digest = ""
	return ref.Familiar()
}

func (r *listRow) Command() string {
	c := r.c.Command
	if r.trunc {
		c = render.Ellipsis(c, 20)
	}
	return strconv.Quote(c)
}

func (r *listRow) CreatedAt() string  { return time.Unix(r.c.Created, 0).String() }
func (r *listRow) RunningFor() string { return render.Ago(r.c.Created) }
func (r *listRow) State() string      { return string(r.c.State) }
func (r *listRow) Status() string     { return r.c.Status }
func (r *listRow) Ports() string      { return showPorts(r.c.Ports) }
func (r *listRow) Labels() string     { return render.Labels(r.c.Labels) }

// Label gives one label.
func (r *listRow) Label(name string) string { return r.c.Labels[name] }

func (r *listRow) Size() string {
	rw := render.Size(r.c.SizeRw)
	if r.c.SizeRootFs > 0 {
		return fmt.Sprintf("%s (virtual %s)", rw, render.Size(r.c.SizeRootFs))
	}
	return rw
}

func (r *listRow) Mounts() string {
	var names []string
	for _, m := range r.c.Mounts {
		n := m.Name
		if n == "" {
			n = m.Source
		}
		if r.trunc {
			n = render.Ellipsis(n, 15)
		}
		names = append(names, n)
	}
	return strings.Join(names, ",")
}

func (r *listRow) LocalVolumes() string {
	n := 0
	for _, m := range r.c.Mounts {
		if m.Driver == "local" {
			n++
		}
	}
	return strconv.Itoa(n)
}

func (r *listRow) Networks() string {
	if r.c.NetworkSettings == nil {
		return ""
	}
	return strings.Join(render.SortedKeys(r.c.NetworkSettings.Networks), ",")
}

// Platform is the image's platform, where the daemon tells it.
func (r *listRow) Platform() *ocispec.Platform {
	if r.c.ImageManifestDescriptor == nil {
		return nil
	}
	return r.c.ImageManifestDescriptor.Platform
}

// showPorts joins neighbouring ports into ranges: "0.0.0.0:80-82->80-82/tcp".
// A port whose number differs on the host stands alone, after the others.
func showPorts(ports []containertypes.PortSummary) string {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, comparePorts)
	type group struct{ first, last uint16 }
	groups := map[string]*group{}
	var order, out, alone []string
	for _, p := range ports {
		key := p.Type
		if p.IP.IsValid() {
			if p.PublicPort != p.PrivatePort {
				host := net.JoinHostPort(p.IP.String(), strconv.Itoa(int(p.PublicPort)))
				alone = append(alone, fmt.Sprintf("%s->%d/%s", host, p.PrivatePort, p.Type))
				continue
			}
			key = p.IP.String() + "/" + p.Type
		}
		g := groups[key]
		switch {
		case g == nil:
			groups[key] = &group{p.PrivatePort, p.PrivatePort}
			order = append(order, key)
		case p.PrivatePort == g.last+1:
			g.last = p.PrivatePort
		default:
			out = append(out, showGroup(key, g.first, g.last))
			groups[key] = &group{p.PrivatePort, p.PrivatePort}
		}
	}
	for _, key := range order {
		out = append(out, showGroup(key, groups[key].first, groups[key].last))
	}
	return strings.Join(append(out, alone...), ", ")
}

func comparePorts(a, b containertypes.PortSummary) int {
	if a.PrivatePort != b.PrivatePort {
		return int(a.PrivatePort) - int(b.PrivatePort)
	}
	if c := strings.Compare(addrText(a), addrText(b)); c != 0 {
		return c
	}
	if a.PublicPort != b.PublicPort {
		return int(a.PublicPort) - int(b.PublicPort)
	}
	return strings.Compare(a.Type, b.Type)
}

func addrText(p containertypes.PortSummary) string {
	if !p.IP.IsValid() {
		return ""
	}
	return p.IP.String()
}

func showGroup(key string, first, last uint16) string {
	ip, proto, ok := strings.Cut(key, "/")
	if !ok {
		ip, proto = "", key
	}
	ports := strconv.Itoa(int(first))
	if last != first {
		ports += "-" + strconv.Itoa(int(last))
	}
	if ip != "" {
		ports = net.JoinHostPort(ip, ports) + "->" + ports
	}
	return ports + "/" + proto
}
