package registry

import (
	"context"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
)

// authorizer answers a host's challenges, with the caller's credentials only
// if trusted.
func (r *Repository) authorizer(h docker.RegistryHost, trusted bool) docker.Authorizer {
	if trusted && r.auth.RegistryToken != "" {
		return bearer(r.auth.RegistryToken)
	}
	header := h.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("User-Agent", r.client.opts.UserAgent)
	opts := []docker.AuthorizerOpt{docker.WithAuthClient(h.Client), docker.WithAuthHeader(header)}
	if trusted {
		opts = append(opts, docker.WithAuthCreds(r.credentials))
	} else {
		opts = append(opts, docker.WithAuthCreds(func(string) (string, string, error) { return "", "", nil }))
	}
	return docker.NewDockerAuthorizer(opts...)
}

// credentials are the caller's. An identity token takes the place of a
// password without a user, which the token server exchanges.
func (r *Repository) credentials(string) (user, secret string, err error) {
	if r.auth.IdentityToken != "" {
		return "", r.auth.IdentityToken, nil
	}
	return r.auth.Username, r.auth.Password, nil
}

// bearer is a ready token that the caller brought.
type bearer string

// Authorize sets the token.
func (b bearer) Authorize(_ context.Context, req *http.Request) error {
	req.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

// AddResponses never retries: there is no other token.
func (b bearer) AddResponses(context.Context, []*http.Response) error {
	return errdefs.ErrNotImplemented
}
