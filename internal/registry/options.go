package registry

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// Hub is the domain of names without one.
const Hub = "docker.io"

// Options configure how registries are reached. The zero value works.
type Options struct {
	// Mirrors are URLs of registries that are asked before Docker Hub.
	Mirrors []string
	// Insecure are hosts ("name", "name:port") and networks (CIDR) whose
	// certificates are not verified and that may speak plain HTTP. Loopback
	// registries are always treated so.
	Insecure []string
	// CertsDir has a directory per registry, "host:port", with Docker's *.crt,
	// *.cert and *.key files or containerd's hosts.toml. "": none.
	CertsDir string
	// MaxConcurrentDownloads bounds the layers that are fetched at a time, over
	// all pulls; 0 is DefaultDownloads.
	MaxConcurrentDownloads int
	// MaxConcurrentUploads is the same for pushes; 0 is DefaultUploads.
	MaxConcurrentUploads int
	// MaxDownloadAttempts bounds the tries for one layer; 0 is DefaultAttempts.
	MaxDownloadAttempts int
	// UserAgent is sent with every request; "" is "gantry".
	UserAgent string
}

// Defaults of Options. Docker downloads three layers at a time; registries
// serve more, and small layers are bound by latency.
const (
	DefaultDownloads = 6
	DefaultUploads   = 5
	DefaultAttempts  = 5
)

// Client reaches registries. It is safe for concurrent use.
type Client struct {
	opts     Options
	mirrors  []*url.URL
	insecure insecureSet
}

// New checks the options. Malformed mirrors or networks are errs.InvalidArgument.
func New(o Options) (*Client, error) {
	if o.MaxConcurrentDownloads <= 0 {
		o.MaxConcurrentDownloads = DefaultDownloads
	}
	if o.MaxConcurrentUploads <= 0 {
		o.MaxConcurrentUploads = DefaultUploads
	}
	if o.MaxDownloadAttempts <= 0 {
		o.MaxDownloadAttempts = DefaultAttempts
	}
	if o.UserAgent == "" {
		o.UserAgent = "gantry"
	}
	c := &Client{opts: o}
	for _, m := range o.Mirrors {
		u, err := parseMirror(m)
		if err != nil {
			return nil, err
		}
		c.mirrors = append(c.mirrors, u)
	}
	var err error
	c.insecure, err = parseInsecure(o.Insecure)
	return c, err
}

// Options gives the options with defaults filled in.
func (c *Client) Options() Options { return c.opts }

// parseMirror checks a mirror as dockerd's --registry-mirror does.
func parseMirror(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid mirror: %q is not a valid URI: %w", s, err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errs.New(errs.InvalidArgument, "invalid mirror: no scheme specified for %q: must use either 'https://' or 'http://'", s)
	case u.Host == "":
		return nil, errs.New(errs.InvalidArgument, "invalid mirror: %q has no host", s)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errs.New(errs.InvalidArgument, "invalid mirror: query or fragment at end of the URI %q", s)
	case u.User != nil:
		return nil, errs.New(errs.InvalidArgument, "invalid mirror: username/password not allowed in URI %q", u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

type insecureSet struct {
	hosts map[string]bool
	nets  []netip.Prefix
}

func parseInsecure(entries []string) (insecureSet, error) {
	set := insecureSet{hosts: map[string]bool{}}
	for _, e := range entries {
		// Docker takes an URL here too, with a warning.
		e = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(e, "https://"), "http://"), "/")
		if p, err := netip.ParsePrefix(e); err == nil {
			set.nets = append(set.nets, p.Masked())
			continue
		}
		if e == "" || strings.ContainsAny(e, "/ \t") {
			return set, errs.New(errs.InvalidArgument, "insecure registry %q is not valid", e)
		}
		set.hosts[strings.ToLower(e)] = true
	}
	return set, nil
}

// has tells whether host ("name" or "name:port") is listed, by itself or by an
// address in a listed network. Names are looked up only if networks are listed.
func (s insecureSet) has(host string) bool {
	host = strings.ToLower(host)
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if s.hosts[host] || s.hosts[name] {
		return true
	}
	if len(s.nets) == 0 {
		return false
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return s.resolvesInside(name)
	}
	return s.contains(addr)
}

func (s insecureSet) resolvesInside(name string) bool {
	ips, err := net.LookupIP(name)
	if err != nil {
		return false // the request itself reports the failure
	}
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && s.contains(a) {
			return true
		}
	}
	return false
}

func (s insecureSet) contains(a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range s.nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// String names the client for logs.
func (c *Client) String() string { return fmt.Sprintf("registry client (%d mirrors)", len(c.mirrors)) }
