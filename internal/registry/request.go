package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"

	"github.com/gantry-run/gantry/internal/errs"
)

// Bounds of what a registry may make us keep in memory.
const (
	maxAnswer   = 8 << 20 // bytes of a JSON answer
	maxTags     = 100_000 // of a repository
	maxTagBytes = 16 << 20
)

// get performs an authenticated GET; the caller closes the body. Statuses
// above 299 are errors.
func (r *Repository) get(ctx context.Context, h docker.RegistryHost, target string) (*http.Response, error) {
	var seen []*http.Response
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("User-Agent", r.client.opts.UserAgent)
		if err := h.Authorizer.Authorize(ctx, req); err != nil {
			return nil, err
		}
		resp, err := h.Client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode <= 299 {
			return resp, nil
		}
		failure := statusError(resp)
		seen = append(seen, resp)
		if resp.StatusCode != http.StatusUnauthorized || len(seen) >= 3 {
			return nil, failure
		}
		if err := h.Authorizer.AddResponses(ctx, seen); err != nil {
			return nil, errors.Join(failure, err)
		}
	}
}

// statusError reads and closes a refused answer.
func statusError(resp *http.Response) error {
	defer resp.Body.Close()
	status, _ := remoteerrors.NewUnexpectedStatusErr(resp).(remoteerrors.ErrUnexpectedStatus)
	var coded docker.Errors
	if json.Unmarshal(status.Body, &coded) == nil && coded.Len() > 0 {
		return errors.Join(status, coded)
	}
	return status
}

// Tags lists all tags of the repository.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	h, err := r.endpoint(ctx, reference.Domain(r.name))
	if err != nil {
		return nil, err
	}
	repo := reference.Path(r.name)
	ctx = docker.WithScope(ctx, "repository:"+repo+":pull")
	var all tagList
	for next := hostURL(h, repo, "tags", "list"); next != ""; {
		tags, more, err := r.tagPage(ctx, h, next)
		if err != nil {
			return nil, r.explain(err, r.name)
		}
		if len(tags) == 0 {
			break // a registry that always gives a next page must not loop us
		}
		if err := all.add(next, tags); err != nil {
			return nil, errs.New(errs.Internal, "list tags of %s: %w", reference.FamiliarName(r.name), err)
		}
		next = more
	}
	return all.tags, nil
}

// tagList gathers the pages of a list that need not be honest.
type tagList struct {
	tags  []string
	bytes int
	pages map[[sha256.Size]byte]struct{} // hashes of their URLs, which may be long
}

func (l *tagList) add(page string, tags []string) error {
	key := sha256.Sum256([]byte(page))
	if _, seen := l.pages[key]; seen {
		return errors.New("the registry's pages go in a circle")
	}
	if l.pages == nil {
		l.pages = map[[sha256.Size]byte]struct{}{}
	}
	l.pages[key] = struct{}{}
	for _, t := range tags {
		l.bytes += len(t)
	}
	if len(l.tags)+len(tags) > maxTags || l.bytes > maxTagBytes {
		return fmt.Errorf("the registry names more than %d tags or %d bytes", maxTags, maxTagBytes)
	}
	l.tags = append(l.tags, tags...)
	return nil
}

func (r *Repository) tagPage(ctx context.Context, h docker.RegistryHost, target string) (tags []string, next string, err error) {
	resp, err := r.get(ctx, h, target)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	var page struct{ Tags []string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&page); err != nil {
		return nil, "", fmt.Errorf("decode tags of %s: %w", r.name, err)
	}
	return page.Tags, nextPage(resp, h), nil
}

// nextPage follows RFC 5988's Link header, on the same host only.
func nextPage(resp *http.Response, h docker.RegistryHost) string {
	link, rest, ok := strings.Cut(resp.Header.Get("Link"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	u, err := url.Parse(strings.TrimPrefix(link, "<"))
	if err != nil {
		return ""
	}
	next := resp.Request.URL.ResolveReference(u)
	if next.Host != h.Host {
		return ""
	}
	return next.String()
}

// hubIndex is the server address that clients send for Docker Hub.
const hubIndex = "https://index.docker.io/v1/"

// Login checks credentials against a registry. Wrong ones are errs.Unauthorized.
func (c *Client) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	domain := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(auth.ServerAddress, "https://"), "http://"), "/")
	if domain == "" || auth.ServerAddress == hubIndex || domain == "index.docker.io" || domain == hubHost {
		domain = Hub
	}
	domain, _, _ = strings.Cut(domain, "/")
	name, err := reference.ParseNormalizedNamed(domain + "/login")
	if err != nil {
		return registry.AuthResponse{}, errs.New(errs.InvalidArgument, "invalid registry address %q: %w", auth.ServerAddress, err)
	}
	r := c.Open(ctx, name, auth)
	defer r.Close()
	h, err := r.endpoint(ctx, domain)
	if err != nil {
		return registry.AuthResponse{}, err
	}
	resp, err := r.get(ctx, h, hostURL(h))
	if err != nil {
		return registry.AuthResponse{}, loginError(r.explain(err, name), hostURL(h))
	}
	_ = resp.Body.Close() // only the status counts
	return registry.AuthResponse{Status: "Login Succeeded", IdentityToken: auth.IdentityToken}, nil
}

// loginError keeps Docker's form: what was asked, then why not.
func loginError(err error, target string) error {
	kind := errs.KindOf(err)
	if kind == errs.NotFound {
		kind = errs.Unauthorized // refused, whatever the registry's way to say so
	}
	if kind != errs.Unauthorized || strings.HasPrefix(err.Error(), "Get ") {
		return errs.Wrap(kind, err)
	}
	return errs.New(kind, "login attempt to %s failed with status: 401 Unauthorized", target)
}
