// Package client speaks the Docker Engine API, as far as the CLI needs it. On
// the wire and in its error texts it behaves as github.com/moby/moby/client
// does, with which the tests compare it; methods, options and results have the
// names they have there. Options and results that would be empty do not exist.
//
// It is a package of our own because that library costs every command of the
// CLI more than the command itself (docs/adr/0004-own-api-client.md). Hence
// the invariant: net/http and the API's types, and nothing at package
// initialization. What a command makes of an answer, and where the host, the
// certificates and the credentials come from, is the CLI's.
//
// Errors of the daemon have the kind (package errs) of their HTTP status and
// Docker's text. Errors of the connection wrap what the dialer returned.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

const dialTimeout = 10 * time.Second

// Options has what is not the host; the zero value is useful.
type Options struct {
	// APIVersion fixes the version that is spoken, such as "1.44". With ""
	// it is the newest that both sides know.
	APIVersion string
	UserAgent  string
	// Headers are sent with every request, but do not replace the client's own.
	Headers map[string]string
	TLS     *tls.Config // nil: a plain connection
	// Dial, if set, opens the connections to the host. No proxy is used then.
	Dial func(context.Context) (net.Conn, error)
}

// Client talks to one daemon. It is safe for concurrent use. Nothing is sent
// before the first call.
type Client struct {
	host      string // as given, for messages
	unix      bool
	scheme    string
	addr      string // of the socket or host:port
	base      string // path before that of the API
	userAgent string
	headers   http.Header
	tls       *tls.Config
	dial      func(context.Context) (net.Conn, error)
	http      *http.Client

	negotiation sync.Mutex // held while the daemon is asked; guards what follows
	negotiated  bool
	version     version
}

// New makes a client for unix:///path or tcp://host:port[/path].
func New(host string, o Options) (*Client, error) {
	c := &Client{host: host, scheme: "http", userAgent: o.UserAgent, headers: http.Header{}, tls: o.TLS, dial: o.Dial, version: newest()}
	if err := c.parseHost(host); err != nil {
		return nil, err
	}
	if o.TLS != nil {
		c.scheme = "https"
	}
	for k, v := range o.Headers {
		k = http.CanonicalHeaderKey(k)
		if _, ok := c.headers[k]; ok {
			return nil, fmt.Errorf("duplicate custom HTTP header (%s)", k)
		}
		c.headers.Set(k, v)
	}
	if v := strings.TrimPrefix(strings.TrimSpace(o.APIVersion), "v"); v != "" {
		fixed, err := parseVersion(v)
		if err != nil {
			return nil, fmt.Errorf("invalid API version (%s): %w", strings.TrimSpace(o.APIVersion), err)
		}
		c.version, c.negotiated = fixed, true
	}
	c.http = &http.Client{Transport: c.transport(), CheckRedirect: checkRedirect}
	return c, nil
}

func (c *Client) parseHost(host string) error {
	proto, addr, _ := strings.Cut(host, "://")
	switch {
	case proto == "unix" && addr != "":
		if len(addr) > len(syscall.RawSockaddrUnix{}.Path) {
			return fmt.Errorf("unix socket path %q is too long", addr)
		}
		c.unix, c.addr = true, addr
	case proto == "tcp" && addr != "":
		u, err := url.Parse(host)
		if err != nil {
			return err
		}
		c.addr, c.base = u.Host, u.Path
	default:
		return fmt.Errorf("unable to connect to %s: protocol %q is not supported", host, proto)
	}
	return nil
}

// transport is that of requests; hijacked connections are dialed apart.
func (c *Client) transport() *http.Transport {
	d := &net.Dialer{Timeout: dialTimeout}
	t := &http.Transport{TLSClientConfig: c.tls, MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second}
	if c.dial == nil && !c.unix {
		t.Proxy, t.DialContext = http.ProxyFromEnvironment, d.DialContext
		c.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", c.addr) }
		return t
	}
	if c.dial == nil {
		c.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "unix", c.addr) }
	}
	t.DisableCompression = true // would only cost time
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }
	return t
}

// errRedirect says that a request which changes something was sent elsewhere:
// net/http would follow with a GET.
var errRedirect = errors.New("unexpected redirect in response")

func checkRedirect(_ *http.Request, via []*http.Request) error {
	if via[0].Method == http.MethodGet {
		return http.ErrUseLastResponse
	}
	return errRedirect
}

// Dial opens a connection to the daemon on which nothing has been sent. The
// caller closes it.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil || c.tls == nil {
		return conn, err
	}
	cfg := c.tls.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = (&url.URL{Host: c.addr}).Hostname()
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one to report
		return nil, err
	}
	return secure, nil
}
