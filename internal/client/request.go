package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
)

// unixHost is what the Host header says where there is no host: net/http
// insists on one. It is the name that Docker's clients send.
const unixHost = "api.moby.localhost"

// request is a call of the API.
type request struct {
	method string
	path   string // below the version
	query  params
	header http.Header
	body   any // nil: none; an io.Reader is sent as it is, the rest as JSON
}

// do sends a request in the version that is spoken and returns the answer to
// it, which the caller closes, or what the daemon has against it.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	v, _ := c.apiVersion(ctx) // says why that is no error here
	res, err := c.send(ctx, "/v"+v.String(), r)
	if err != nil {
		return nil, err
	}
	if err := responseError(res); err != nil {
		drain(res)
		return nil, err
	}
	return res, nil
}

// send sends a request whose path lies below prefix. Any status is a success.
func (c *Client) send(ctx context.Context, prefix string, r request) (*http.Response, error) {
	req, err := c.build(ctx, prefix, r)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(err)
	}
	return res, nil
}

func (c *Client) build(ctx context.Context, prefix string, r request) (*http.Request, error) {
	body, isJSON, err := encode(r.body)
	if err != nil {
		return nil, err
	}
	// The path of a socket is no host that a URL could be parsed with.
	u := url.URL{Path: path.Join("/", c.base, prefix, r.path), RawQuery: url.Values(r.query).Encode()}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.URL.Scheme, req.URL.Host = c.scheme, c.addr
	if c.unix {
		req.Host = unixHost
	}
	for k, v := range c.headers {
		req.Header[k] = v
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	return req, nil
}

func encode(body any) (r io.Reader, isJSON bool, err error) {
	switch b := body.(type) {
	case nil:
		return nil, false, nil
	case io.Reader:
		return b, false, nil
	}
	doc, err := json.Marshal(body)
	return bytes.NewReader(doc), true, err
}

// call sends a request and decodes the answer.
func call[T any](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	res, err := c.do(ctx, r)
	if err != nil {
		return out, err
	}
	defer drain(res)
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the daemon's answer to %s %s: %w", r.method, r.path, err)
	}
	return out, nil
}

// inspect is call for answers that are also shown as they came: raw has
// fields, too, that this client does not know.
func inspect[T any](ctx context.Context, c *Client, r request) (out T, raw json.RawMessage, err error) {
	raw, err = call[json.RawMessage](ctx, c, r)
	if err != nil {
		return out, nil, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, raw, fmt.Errorf("read the daemon's answer to %s %s: %w", r.method, r.path, err)
	}
	return out, raw, nil
}

// order sends a request whose answer says nothing.
func (c *Client) order(ctx context.Context, r request) error {
	res, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	drain(res)
	return nil
}

// stream sends a request and gives the answer as it comes in. It ends with an
// error when ctx does. The caller closes it.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// drain closes an answer. What little may be left is read, since only then is
// the connection used again.
func drain(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 512)
	_ = res.Body.Close()
}
