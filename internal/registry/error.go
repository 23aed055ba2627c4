package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/gantry-run/gantry/internal/errs"
)

// The texts of the distribution specification's error codes as Docker shows
// them: the code, then the registry's message.
const (
	manifestUnknown = "manifest unknown: manifest unknown"
	accessDenied    = "denied: requested access to the resource is denied"
)

// explain gives a protocol error its kind and Docker's text.
func (r *Repository) explain(err error, ref reference.Named) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if coded := registryError(err); coded != "" {
		return explainCode(coded, err, ref)
	}
	status, hasStatus := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization) && strings.Contains(err.Error(), "no basic auth credentials"):
		return errs.New(errs.Unauthorized, "Get %q: no basic auth credentials", r.root())
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return denied(ref, accessDenied)
	case hasStatus:
		return explainStatus(status, err, ref)
	case errdefs.IsNotFound(err):
		return errs.New(errs.NotFound, "manifest for %s not found: %s", reference.FamiliarString(ref), manifestUnknown)
	case errdefs.IsNotImplemented(err):
		return errs.Wrap(errs.Unsupported, err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return errs.Wrap(errs.Internal, u)
	}
	return err
}

// root is the URL that Docker probes first, for messages.
func (r *Repository) root() string {
	domain := reference.Domain(r.name)
	if domain == Hub {
		domain = hubHost
	}
	scheme := "https"
	if docker.IsLocalhost(domain) {
		scheme = "http"
	}
	return scheme + "://" + domain + "/v2/"
}

func denied(ref reference.Named, why string) error {
	return errs.New(errs.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login': %s",
		reference.FamiliarName(ref), why)
}

// registryError is the first error of the registry's answer, as "code: message".
func registryError(err error) string {
	list, ok := errors.AsType[docker.Errors](err)
	if !ok || len(list) == 0 {
		return ""
	}
	switch e := list[0].(type) {
	case docker.ErrorCode:
		return e.Error() + ": " + e.Message()
	case docker.Error:
		return e.Error()
	}
	return ""
}

func explainCode(text string, err error, ref reference.Named) error {
	code, _, _ := strings.Cut(text, ":")
	switch code {
	case "denied":
		return denied(ref, text)
	case "manifest unknown":
		return errs.New(errs.NotFound, "manifest for %s not found: %s", reference.FamiliarString(ref), text)
	case "name unknown":
		return errs.New(errs.NotFound, "repository %s not found: does not exist or no pull access: %s", reference.FamiliarName(ref), text)
	case "unauthorized":
		return errs.New(errs.Unauthorized, "%s", text)
	case "toomanyrequests":
		return errs.New(errs.Unavailable, "%s", text)
	case "unknown":
		if s, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
			return explainStatus(s, err, ref)
		}
	}
	return errs.New(errs.Internal, "%s", text)
}

func explainStatus(s remoteerrors.ErrUnexpectedStatus, err error, ref reference.Named) error {
	switch {
	case s.StatusCode == http.StatusUnauthorized && strings.Contains(err.Error(), "token"):
		// The token server refused the credentials.
		return errs.New(errs.Unauthorized, "Get %q: unauthorized: incorrect username or password", s.RequestURL)
	case s.StatusCode == http.StatusUnauthorized:
		return errs.New(errs.Unauthorized, "unauthorized: authentication required")
	case s.StatusCode == http.StatusForbidden:
		return denied(ref, accessDenied)
	case s.StatusCode == http.StatusNotFound:
		return errs.New(errs.NotFound, "manifest for %s not found: %s", reference.FamiliarString(ref), manifestUnknown)
	case s.StatusCode == http.StatusTooManyRequests:
		return errs.New(errs.Unavailable, "toomanyrequests: too many requests to registry")
	}
	return errs.New(errs.Internal, "received unexpected HTTP status: %s", s.Status)
}

// Transient tells whether the same request may succeed when it is repeated:
// broken connections, time-outs and a server's own faults, but no refusals.
func Transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if s, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return s.StatusCode >= 500 || s.StatusCode == http.StatusTooManyRequests || s.StatusCode == http.StatusRequestTimeout
	}
	if errors.Is(err, syscall.ENOSPC) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "stream error")
}
