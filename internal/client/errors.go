package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/common"

	"github.com/gantry-run/gantry/internal/errs"
)

// maxMessage bounds what is read of an error.
const maxMessage = 1 << 20

// responseError is what the daemon has against a request, with the kind of the
// status; nil if nothing.
func responseError(res *http.Response) error {
	if res.StatusCode < http.StatusBadRequest && res.StatusCode >= http.StatusOK {
		return nil
	}
	return errs.Wrap(kindOf(res.StatusCode), messageOf(res))
}

func kindOf(status int) errs.Kind {
	switch status {
	case http.StatusBadRequest:
		return errs.InvalidArgument
	case http.StatusUnauthorized:
		return errs.Unauthorized
	case http.StatusForbidden:
		return errs.Permission
	case http.StatusNotFound:
		return errs.NotFound
	case http.StatusConflict:
		return errs.Conflict
	case http.StatusNotImplemented:
		return errs.Unsupported
	case http.StatusServiceUnavailable:
		return errs.Unavailable
	}
	return errs.Internal
}

// messageOf words an error. An answer to HEAD and one that comes from a proxy
// have no message, so the request is named, and the version in it.
func messageOf(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	switch {
	case err != nil:
		return err
	case len(body) == maxMessage:
		return fmt.Errorf("request returned %s with a message (> %d bytes) for API route and version %s, check if the server supports the requested API version",
			res.Status, maxMessage, res.Request.URL)
	case len(body) == 0:
		return fmt.Errorf("request returned %s for API route and version %s, check if the server supports the requested API version",
			res.Status, res.Request.URL)
	}
	text := string(body)
	if res.Header.Get("Content-Type") == "application/json" {
		var answer common.ErrorResponse
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("error reading JSON: %w", err)
		}
		if text = answer.Message; text == "" {
			text = fmt.Sprintf("API returned a %d (%s) but provided no error-message", res.StatusCode, http.StatusText(res.StatusCode))
		}
	}
	//lint:ignore ST1005 Docker's text
	return fmt.Errorf("Error response from daemon: %s", strings.TrimSpace(text))
}

// connectError explains why no answer came. The errors that a dialer of the
// caller's returns stay in the chain.
func (c *Client) connectError(err error) error {
	var dns *net.DNSError
	var timeout net.Error
	text := err.Error()
	switch {
	case c.scheme == "http" && strings.Contains(text, "malformed HTTP response"):
		return fmt.Errorf("%w.\n* Are you trying to connect to a TLS-enabled daemon without TLS?", err)
	case c.scheme == "https" && (strings.Contains(text, "handshake failure") || strings.Contains(text, "bad certificate")):
		return fmt.Errorf("the server probably has client authentication (--tlsverify) enabled; check your TLS client certification settings: %w", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied while trying to connect to the docker API at %s", c.host)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("failed to connect to the docker API at %s; check if the path is correct and if the daemon is running: %w", c.host, errors.Unwrap(err))
	case errors.As(err, &dns):
		return fmt.Errorf("failed to connect to the docker API at %s: %w", c.host, dns)
	case errors.As(err, &timeout) && timeout.Timeout(), strings.Contains(text, "connection refused"), strings.Contains(text, "dial unix"):
		//lint:ignore ST1005 Docker's text
		return fmt.Errorf("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", c.host)
	}
	return fmt.Errorf("error during connect: %w", err)
}

// trimID refuses the empty name of an object: its path would be that of another
// call.
func trimID(kind, name string) (string, error) {
	if name = strings.TrimSpace(name); name == "" {
		return "", errs.New(errs.InvalidArgument, "invalid %s name or ID: value is empty", kind)
	}
	return name, nil
}
