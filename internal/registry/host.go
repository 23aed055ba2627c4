package registry

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"

	"github.com/gantry-run/gantry/internal/errs"
)

// idlePerHost lets parallel downloads of one registry keep their connections;
// Go's default of two would open a new one for most layers.
const idlePerHost = 16

// hosts gives the hosts that serve a domain, in the order to try them: mirrors
// (for Docker Hub), then what CertsDir's hosts.toml says, then the registry.
func (r *Repository) hosts(ctx context.Context) docker.RegistryHosts {
	return func(domain string) ([]docker.RegistryHost, error) {
		var all []docker.RegistryHost
		if domain == Hub {
			for _, m := range r.client.mirrors {
				h, err := r.mirror(ctx, m)
				if err != nil {
					return nil, err
				}
				all = append(all, h)
			}
		}
		own, err := r.configured(ctx, domain, "")
		if err != nil {
			return nil, errs.New(errs.Internal, "configure registry %s: %w", domain, err)
		}
		for i := range own {
			own[i].Authorizer = r.authorizer(own[i], r.mayAuthenticate(domain, own[i].Host))
		}
		return append(all, own...), nil
	}
}

// mayAuthenticate tells whether host is the registry that the caller's
// credentials are for, and not a mirror that hosts.toml names.
func (r *Repository) mayAuthenticate(domain, host string) bool {
	return host == domain || domain == Hub && host == hubHost
}

// hubHost is where Docker Hub serves the protocol.
const hubHost = "registry-1.docker.io"

func (r *Repository) mirror(ctx context.Context, m *url.URL) (docker.RegistryHost, error) {
	hosts, err := r.configured(ctx, m.Host, m.Scheme)
	if err != nil || len(hosts) == 0 {
		return docker.RegistryHost{}, errs.New(errs.Internal, "configure mirror %s: %w", m.Host, err)
	}
	h := hosts[len(hosts)-1]
	h.Host, h.Path = m.Host, path.Join("/", m.Path, "v2")
	h.Capabilities = docker.HostCapabilityPull | docker.HostCapabilityResolve
	h.Authorizer = r.authorizer(h, false)
	return h, nil
}

// configured gives the hosts of a domain without mirrors and credentials. A
// scheme that the user wrote is kept.
func (r *Repository) configured(ctx context.Context, domain, scheme string) ([]docker.RegistryHost, error) {
	o := config.HostOptions{UpdateClient: r.adopt}
	if r.client.opts.CertsDir != "" {
		o.HostDir = config.HostDirFromRoot(r.client.opts.CertsDir)
	}
	if scheme != "http" && r.client.insecure.has(domain) && !docker.IsLocalhost(domain) {
		// With a TLS configuration "http" means: HTTPS first, then HTTP.
		o.DefaultTLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the user listed the registry as insecure
		o.DefaultScheme = "http"
	}
	if scheme == "http" {
		o.DefaultScheme = "http"
	}
	return config.ConfigureHosts(ctx, o)(domain)
}

// adopt tunes a new client's transport and remembers it for Close.
func (r *Repository) adopt(c *http.Client) error {
	t, ok := c.Transport.(*http.Transport)
	if !ok {
		return nil
	}
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idlePerHost
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transports = append(r.transports, t)
	return nil
}

// endpoint is the host to talk to for requests that are not about content.
func (r *Repository) endpoint(ctx context.Context, domain string) (docker.RegistryHost, error) {
	hosts, err := r.hosts(ctx)(domain)
	if err != nil {
		return docker.RegistryHost{}, err
	}
	if len(hosts) == 0 {
		return docker.RegistryHost{}, errs.New(errs.NotFound, "no registry is configured for %s", domain)
	}
	return hosts[len(hosts)-1], nil
}

func hostURL(h docker.RegistryHost, elem ...string) string {
	return h.Scheme + "://" + h.Host + path.Join(append([]string{"/", h.Path}, elem...)...) + slash(elem)
}

// slash keeps the one at the end of "/v2/", without which registries redirect.
func slash(elem []string) string {
	if len(elem) == 0 || strings.HasSuffix(elem[len(elem)-1], "/") {
		return "/"
	}
	return ""
}
