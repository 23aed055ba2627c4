package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// MaxAPIVersion is the newest API version that the client speaks.
const MaxAPIVersion = "1.56"

func newest() version { return version{1, 56} }
func oldest() version { return version{1, 40} }

type version struct{ major, minor int }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func parseVersion(s string) (version, error) {
	if s == "" {
		return version{}, errors.New("value is empty")
	}
	major, minor, ok := strings.Cut(s, ".")
	if !ok || s[0] == 'v' {
		return version{}, errors.New("must be formatted <major>.<minor>")
	}
	var v version
	var err error
	if v.major, err = strconv.Atoi(major); err != nil {
		return version{}, errors.New("invalid major version: must be formatted <major>.<minor>")
	}
	if v.minor, err = strconv.Atoi(minor); err != nil {
		return version{}, errors.New("invalid minor version: must be formatted <major>.<minor>")
	}
	return v, nil
}

// ClientVersion is the API version that is spoken: until the first call has
// found out about the daemon, MaxAPIVersion.
func (c *Client) ClientVersion() string {
	c.negotiation.Lock()
	defer c.negotiation.Unlock()
	return c.version.String()
}

// apiVersion asks the daemon for its version unless one is known. If that
// fails, the version that comes with the error is as good as any: the request
// proper meets the same obstacle and tells it better.
func (c *Client) apiVersion(ctx context.Context) (version, error) {
	c.negotiation.Lock()
	defer c.negotiation.Unlock()
	if c.negotiated {
		return c.version, nil
	}
	answer, err := c.ping(ctx)
	if err != nil {
		return c.version, err
	}
	if answer != "" {
		theirs, err := parseVersion(answer)
		if err != nil {
			return c.version, err
		}
		if theirs.before(oldest()) {
			return c.version, errs.New(errs.InvalidArgument,
				"API version %s is not supported by this client: the minimum supported API version is %s", theirs, oldest())
		}
		if theirs.before(c.version) {
			c.version = theirs
		}
	}
	c.negotiated = true
	return c.version, nil
}

// ping gives the daemon's API version, "" if it tells none. GET is for what
// does not take HEAD, and for the text of an error.
func (c *Client) ping(ctx context.Context) (string, error) {
	res, err := c.send(ctx, "", request{method: http.MethodHead, path: "/_ping"})
	if err != nil || res.StatusCode != http.StatusOK {
		if err == nil {
			drain(res)
		}
		res, err = c.send(ctx, "", request{method: http.MethodGet, path: "/_ping"})
	}
	if err != nil {
		return "", err
	}
	defer drain(res)
	return res.Header.Get("Api-Version"), responseError(res)
}

// require refuses a feature that came after the version that is spoken.
func (c *Client) require(ctx context.Context, since version, feature string) error {
	v, err := c.apiVersion(ctx)
	if err != nil {
		return err
	}
	if v.before(since) {
		return fmt.Errorf("%q requires API version %s, but the Docker daemon API version is %s", feature, since, v)
	}
	return nil
}
