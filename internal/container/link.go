package container

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// link is a container on the default bridge that another one knows by an alias
// (--link): in /etc/hosts, and with its ports and variables in the environment.
type link struct {
	Target string // container ID
	Alias  string
}

// resolveLinks finds the containers that a request links to.
func (s *Service) resolveLinks(specs []string) ([]link, error) {
	var links []link
	for _, spec := range specs {
		name, alias, aliased := strings.Cut(spec, ":")
		if name == "" || strings.Contains(alias, ":") || aliased && strings.Trim(alias, "./") == "" {
			return nil, errs.New(errs.InvalidArgument, "bad format for links: %s", spec)
		}
		if !aliased {
			alias = name
		}
		target, err := s.find(name)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "could not get container for %s: %w", name, err)
		}
		r := target.view()
		if !r.Host.NetworkMode.IsBridge() {
			return nil, errs.New(errs.InvalidArgument, "Cannot link to /%s, as it does not belong to the default network", r.Name)
		}
		l := link{Target: r.ID, Alias: path.Base(alias)} // inspect shows /self/alias
		if !slices.ContainsFunc(links, func(other link) bool { return other.Alias == l.Alias }) {
			links = append(links, l)
		}
	}
	return links, nil
}

// linked is a link with the container that it leads to, as it is now.
type linked struct {
	link
	target record
}

// linksOf gives a container's links; all that they lead to must run.
func (s *Service) linksOf(r *record) ([]linked, error) {
	out := make([]linked, 0, len(r.Links))
	for _, l := range r.Links {
		c, err := s.find(l.Target)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "Cannot link to a removed container AS /%s/%s: %w", r.Name, l.Alias, err)
		}
		target := c.view()
		if !target.State.running() {
			return nil, errs.New(errs.Conflict, "Cannot link to a non running container: /%s AS /%s/%s", target.Name, r.Name, l.Alias)
		}
		out = append(out, linked{l, target})
	}
	return out, nil
}

// hosts gives the lines of /etc/hosts.
func (l *linked) hosts() string {
	names := l.Alias + " " + l.target.Config.Hostname
	if l.Alias != l.target.Name {
		names += " " + l.target.Name
	}
	if ip := l.ip(); ip.IsValid() {
		return fmt.Sprintf("%s\t%s\n", ip, names)
	}
	return ""
}

func (l *linked) ip() netip.Addr {
	if ep := l.target.Endpoints[network.NetworkBridge]; ep != nil {
		return ep.IPAddress
	}
	return netip.Addr{}
}

// env gives the variables of Docker's links: where the ports are, and the other
// container's own variables.
func (l *linked) env(self string) []string {
	prefix := strings.ReplaceAll(strings.ToUpper(l.Alias), "-", "_")
	var env []string
	set := func(name, value string) { env = append(env, prefix+name+"="+value) }
	for i, p := range sortedPorts(l.target.Config.ExposedPorts) {
		url := fmt.Sprintf("%s://%s:%d", p.Proto(), l.ip(), p.Num())
		if i == 0 {
			set("_PORT", url)
		}
		one := fmt.Sprintf("_PORT_%d_%s", p.Num(), strings.ToUpper(string(p.Proto())))
		set(one, url)
		set(one+"_ADDR", l.ip().String())
		set(one+"_PORT", fmt.Sprint(p.Num()))
		set(one+"_PROTO", string(p.Proto()))
	}
	set("_NAME", "/"+self+"/"+l.Alias)
	for _, e := range l.target.Config.Env {
		name, value, ok := strings.Cut(e, "=")
		if ok && name != "HOME" && name != "PATH" {
			set("_ENV_"+name, value)
		}
	}
	return env
}

// sortedPorts puts TCP first.
func sortedPorts(set network.PortSet) []network.Port {
	ports := make([]network.Port, 0, len(set))
	for p := range set {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b network.Port) int {
		if a.Proto() != b.Proto() {
			if a.Proto() == network.TCP || b.Proto() != network.TCP && a.Proto() < b.Proto() {
				return -1
			}
			return 1
		}
		return int(a.Num()) - int(b.Num())
	})
	return ports
}

// linkFiles adds the links' lines to a hosts file and gives their variables.
func (s *Service) linkFiles(r *record, sandbox *engine.Sandbox) (hosts string, env []string, err error) {
	if sandbox == nil {
		return "", nil, nil
	}
	links, err := s.linksOf(r)
	for i := range links {
		hosts += links[i].hosts()
		env = append(env, links[i].env(r.Name)...)
	}
	return hosts, env, err
}

// linkEnv gives the variables of the links of a container that runs, as far as
// the others still run.
func (s *Service) linkEnv(r *record) (env []string) {
	for _, l := range r.Links {
		one := record{Name: r.Name, Links: []link{l}}
		if links, err := s.linksOf(&one); err == nil {
			env = append(env, links[0].env(r.Name)...)
		}
	}
	return env
}

// relink writes the new address of a container that has started into the hosts
// files of those that run with a link to it.
func (s *Service) relink(r *record) error {
	var all error
	for _, c := range s.all() {
		other := c.view()
		if !other.State.running() {
			continue
		}
		for _, l := range other.Links {
			if l.Target == r.ID {
				if err := editHosts(s.store.file(other.ID, "hosts"), l.Alias, (&linked{l, *r}).hosts()); err != nil {
					all = errors.Join(all, fmt.Errorf("container %s: update link %s: %w", other.ID, l.Alias, err))
				}
			}
		}
	}
	return all
}

// shownLinks are a container's links as inspect has them.
func (s *Service) shownLinks(r *record) []string {
	var out []string
	for _, l := range r.Links {
		if c, err := s.find(l.Target); err == nil {
			out = append(out, fmt.Sprintf("/%s:/%s/%s", c.view().Name, r.Name, l.Alias))
		}
	}
	return out
}
