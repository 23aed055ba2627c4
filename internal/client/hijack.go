package client

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
)

// CloseWriter is a connection of which the sending side can be closed alone.
type CloseWriter interface {
	CloseWrite() error
}

// HijackedResponse is a connection that has stopped speaking HTTP. What
// arrives is read from Reader, which may hold the first of it already; what is
// sent is written to Conn. One reader and one writer may use it at a time.
type HijackedResponse struct {
	Conn   net.Conn
	Reader *bufio.Reader
}

// Close closes the connection.
func (h HijackedResponse) Close() {
	_ = h.Conn.Close() // nothing of what was sent waits for it
}

// CloseWrite ends what is sent; what arrives can still be read. Without effect
// on a connection that has no such thing.
func (h HijackedResponse) CloseWrite() error {
	if w, ok := h.Conn.(CloseWriter); ok {
		return w.CloseWrite()
	}
	return nil
}

// hijack sends a request after which the connection is the caller's. ctx ends
// the attempt, not the connection.
func (c *Client) hijack(ctx context.Context, r request) (HijackedResponse, error) {
	v, _ := c.apiVersion(ctx) // says why that is no error here
	req, err := c.build(ctx, "/v"+v.String(), r)
	if err != nil {
		return HijackedResponse{}, err
	}
	conn, err := c.Dial(ctx)
	if err != nil {
		return HijackedResponse{}, fmt.Errorf("cannot connect to the Docker daemon. Is 'docker daemon' running on this host?: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	h, err := upgrade(conn, req)
	if !stop() {
		err = ctx.Err() // whatever else the closing has brought
	}
	if err != nil {
		_ = conn.Close() // may be the second time
		return HijackedResponse{}, err
	}
	return h, nil
}

func upgrade(conn net.Conn, req *http.Request) (HijackedResponse, error) {
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return HijackedResponse{}, err
	}
	h := HijackedResponse{Conn: conn, Reader: bufio.NewReader(conn)}
	res, err := http.ReadResponse(h.Reader, req)
	if err != nil {
		return HijackedResponse{}, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return HijackedResponse{}, fmt.Errorf("unable to upgrade to tcp, received %d", res.StatusCode)
	}
	return h, nil
}
