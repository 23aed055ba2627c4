package container

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// fallbackDNS are Docker's servers for a host whose own are all local to it.
var fallbackDNS = []string{"8.8.8.8", "8.8.4.4"}

// hostLoopbackHosts opens every hosts file that is not the host's own.
const hostLoopbackHosts = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

// networkFiles writes resolv.conf, hostname and hosts beside the record and
// gives the host name and the variables of links. The files are bound into the container, so they are
// rewritten in place: a new inode would not be seen by those who join.
func (s *Service) networkFiles(r *record, sb *engine.Sandbox) (hostname string, linkEnv []string, err error) {
	hostname = r.Config.Hostname
	if r.Host.NetworkMode.IsHost() && (hostname == "" || hostname == r.ID[:12]) || r.Host.UTSMode.IsHost() {
		if hostname, err = os.Hostname(); err != nil {
			return "", nil, fmt.Errorf("read host name: %w", err)
		}
	}
	if ref := r.Host.NetworkMode.ConnectedContainer(); ref != "" {
		hostname, err = s.borrowNetworkFiles(r, ref)
		return hostname, nil, err
	}
	linkHosts, linkEnv, err := s.linkFiles(r, sb)
	if err != nil {
		return "", nil, err
	}
	files := map[string]string{
		"hostname":    hostname + "\n",
		"hosts":       hosts(r, hostname, linkHosts, sb, s.Networks.HostGateway()),
		"resolv.conf": s.resolvConf(r, sb),
	}
	for name, content := range files {
		if err := os.WriteFile(s.store.file(r.ID, name), []byte(content), 0o644); err != nil {
			return "", nil, fmt.Errorf("write %s of container %s: %w", name, r.ID, err)
		}
	}
	return hostname, linkEnv, nil
}

// borrowNetworkFiles copies the files and the names of the container whose network
// is joined.
func (s *Service) borrowNetworkFiles(r *record, ref string) (string, error) {
	other, err := s.find(ref)
	if err != nil {
		return "", err
	}
	o := other.view()
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		data, err := readNetworkFile(s.store.file(o.ID, name))
		if err == nil {
			err = os.WriteFile(s.store.file(r.ID, name), data, 0o644)
		}
		if err != nil {
			return "", fmt.Errorf("share %s of container %s: %w", name, o.ID, err)
		}
	}
	cfg := *r.Config
	cfg.Hostname, cfg.Domainname = o.Config.Hostname, o.Config.Domainname
	r.Config = &cfg
	return cfg.Hostname, nil
}

// maxNetworkFile is the most that is taken of a file which a container can write to,
// and make as large as it likes.
const maxNetworkFile = 1 << 20

// readNetworkFile reads a container's hosts, hostname or resolv.conf.
func readNetworkFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxNetworkFile+1))
	if err == nil && len(data) > maxNetworkFile {
		err = errNetworkFileSize
	}
	return data, err
}

var errNetworkFileSize = errs.New(errs.Conflict, "the container has made the file larger than 1 MiB")

// hosts gives the lines of /etc/hosts in Docker's order. host is what the name
// host-gateway stands for.
func hosts(r *record, hostname, links string, sb *engine.Sandbox, host netip.Addr) string {
	var b strings.Builder
	if r.Host.NetworkMode.IsHost() {
		if data, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(data)
			if len(data) > 0 && data[len(data)-1] != '\n' {
				b.WriteByte('\n')
			}
		}
	}
	if b.Len() == 0 {
		b.WriteString(hostLoopbackHosts)
	}
	for _, extra := range r.Host.ExtraHosts {
		name, ip, ok := strings.Cut(extra, "=")
		if !ok {
			name, ip, _ = strings.Cut(extra, ":")
		}
		if ip == "host-gateway" {
			if !host.IsValid() {
				continue // no bridge, no gateway
			}
			ip = host.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(ip, "[]"), name)
	}
	b.WriteString(links)
	if sb == nil {
		return b.String()
	}
	names := ownNames(hostname, r.Config.Domainname)
	for _, ep := range sb.Endpoints {
		for _, ip := range []netip.Addr{ep.IPAddress, ep.GlobalIPv6Address} {
			if ip.IsValid() {
				fmt.Fprintf(&b, "%s\t%s\n", ip, names)
			}
		}
	}
	return b.String()
}

// ownNames are the full name of a container and the first part of it, wherever the
// user has put the dot.
func ownNames(hostname, domain string) string {
	if domain != "" {
		hostname += "." + domain
	}
	if first, _, ok := strings.Cut(hostname, "."); ok {
		return hostname + " " + first
	}
	return hostname
}

// resolvConf gives the container the host's resolver settings with the user's
// and the daemon's changes. A server on the host's loopback is of no use to a
// container with a network of its own.
func (s *Service) resolvConf(r *record, sb *engine.Sandbox) string {
	servers, search, options := parseResolvConf(hostResolvConf())
	if !r.Host.NetworkMode.IsHost() {
		servers = slices.DeleteFunc(servers, func(v string) bool {
			ip, err := netip.ParseAddr(v)
			return err != nil || ip.IsLoopback()
		})
		if len(servers) == 0 {
			servers = fallbackDNS
		}
	}
	if len(s.Defaults.DNS) > 0 {
		servers = s.Defaults.DNS
	}
	if sb != nil && len(sb.DNS) > 0 {
		servers = addrs(sb.DNS)
	}
	if len(r.Host.DNS) > 0 {
		servers = addrs(r.Host.DNS)
	}
	search = firstSet(r.Host.DNSSearch, s.Defaults.DNSSearch, search)
	options = firstSet(r.Host.DNSOptions, s.Defaults.DNSOptions, options)
	var b strings.Builder
	b.WriteString("# Written by Gantry from the host's resolver settings.\n")
	if len(search) > 0 && !slices.Equal(search, []string{"."}) {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	for _, v := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", v)
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

func firstSet(lists ...[]string) []string {
	for _, l := range lists {
		if len(l) > 0 {
			return l
		}
	}
	return nil
}

func addrs(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

// hostResolvConf reads the host's resolver settings; behind systemd-resolved's
// stub, the real servers are in its own file.
func hostResolvConf() string {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return "" // a host without one: the fallback servers are used
	}
	if servers, _, _ := parseResolvConf(string(data)); slices.Equal(servers, []string{"127.0.0.53"}) {
		if real, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			return string(real)
		}
	}
	return string(data)
}

func parseResolvConf(text string) (servers, search, options []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			servers = append(servers, f[1])
		case "search", "domain":
			search = f[1:]
		case "options":
			options = append(options, f[1:]...)
		}
	}
	return servers, search, options
}
