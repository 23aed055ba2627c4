// Package client is the daemon's side of the supervisor's protocol. It dials
// once per call: a unix connect costs some 20 µs, and no call waits for another.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Client calls the supervisor that listens on Socket. It is safe for concurrent use.
type Client struct {
	Socket string
}

// call sends one request and gives the open connection after a good response.
func (c *Client) call(ctx context.Context, req wire.Request, fds ...int) (*net.UnixConn, wire.Response, wire.FDs, error) {
	var resp wire.Response
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, resp, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // wakes the read below
	defer stop()
	err = wire.Write(conn, req, fds...)
	var got wire.FDs
	if err == nil {
		got, err = wire.Read(conn, &resp)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, resp, nil, errs.New(errs.Unavailable, "supervisor %s: %w", req.Op, err)
	}
	if resp.Error != nil {
		got.Close()
		_ = conn.Close()
		return nil, resp, nil, resp.Error.Err()
	}
	return conn, resp, got, nil
}

func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "reach the supervisor: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

func (c *Client) do(ctx context.Context, req wire.Request, fds ...int) (wire.Response, wire.FDs, error) {
	conn, resp, got, err := c.call(ctx, req, fds...)
	if err != nil {
		return resp, nil, err
	}
	return resp, got, conn.Close()
}

// Ping tells whether a supervisor answers.
func (c *Client) Ping(ctx context.Context) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpPing})
	return err
}

// Start runs a container and returns the host pid of its init and our ends of
// its standard streams: whoever parks them keeps the container's output safe
// should the supervisor die (see Adopt). netns may be nil. A *wire.ProgramError
// says that the container's program cannot be executed.
func (c *Client) Start(ctx context.Context, id string, s wire.Start, netns *os.File) (int, wire.FDs, error) {
	var fds []int
	if netns != nil {
		s.Netns, fds = true, []int{int(netns.Fd())}
	}
	resp, parked, err := c.do(ctx, wire.Request{Op: wire.OpStart, ID: id, Start: &s}, fds...)
	return resp.Pid, parked, err
}

// Park gives what Start gave, of a container that runs already.
func (c *Client) Park(ctx context.Context, id string) (wire.FDs, error) {
	_, parked, err := c.do(ctx, wire.Request{Op: wire.OpPark, ID: id})
	return parked, err
}

// Adopt gives a new supervisor the streams that its predecessor had of a running
// container. Of s only what concerns streams and log counts.
func (c *Client) Adopt(ctx context.Context, id string, s wire.Start, parked wire.FDs) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpAdopt, ID: id, Start: &s}, parked...)
	return err
}

// Exec runs another process in a container. If e.Attached, the connection with
// the process's streams is returned: stdcopy frames, or raw bytes for a TTY.
func (c *Client) Exec(ctx context.Context, id, execID string, e wire.Exec, a wire.Attach) (int, *net.UnixConn, error) {
	conn, resp, _, err := c.call(ctx, wire.Request{Op: wire.OpExec, ID: id, ExecID: execID, Exec: &e, Attach: &a})
	if err != nil || e.Attached {
		return resp.Pid, conn, err
	}
	return resp.Pid, nil, conn.Close()
}

// Attach gives the streams of a container, also of one that is yet to start.
func (c *Client) Attach(ctx context.Context, id string, a wire.Attach) (*net.UnixConn, error) {
	conn, _, _, err := c.call(ctx, wire.Request{Op: wire.OpAttach, ID: id, Attach: &a})
	return conn, err
}

// Signal sends a signal to a container's init or to all of its processes.
func (c *Client) Signal(ctx context.Context, id string, sig int, all bool) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpSignal, ID: id, Signal: sig, All: all})
	return err
}

// Resize sets the terminal size of a container or exec.
func (c *Client) Resize(ctx context.Context, id, execID string, height, width uint16) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpResize, ID: id, ExecID: execID, Height: height, Width: width})
	return err
}

// Pause freezes a container.
func (c *Client) Pause(ctx context.Context, id string) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpPause, ID: id})
	return err
}

// Resume thaws a container.
func (c *Client) Resume(ctx context.Context, id string) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpResume, ID: id})
	return err
}

// Dump writes a running container to files.
func (c *Client) Dump(ctx context.Context, id string, d wire.Dump) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpDump, ID: id, Dump: &d})
	return err
}

// Update changes the resources (runtime-spec LinuxResources) of a running container.
func (c *Client) Update(ctx context.Context, id string, resources json.RawMessage) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpUpdate, ID: id, Resources: resources})
	return err
}

// Cgroup tells where a container's control group is, as linux/cgroup encodes it.
func (c *Client) Cgroup(ctx context.Context, id string) (json.RawMessage, error) {
	resp, _, err := c.do(ctx, wire.Request{Op: wire.OpCgroup, ID: id})
	return resp.Cgroup, err
}

// Pids gives the host pids of all processes of a container.
func (c *Client) Pids(ctx context.Context, id string) ([]int, error) {
	resp, _, err := c.do(ctx, wire.Request{Op: wire.OpPids, ID: id})
	return resp.Pids, err
}

// Forget lets the supervisor drop the record of a container's exit; removed
// also lets go the clients that wait for its next start.
func (c *Client) Forget(ctx context.Context, id string, removed bool) error {
	_, _, err := c.do(ctx, wire.Request{Op: wire.OpForget, ID: id, All: removed})
	return err
}

// Shutdown ends the supervisor unless it has containers; it tells whether it went.
func (c *Client) Shutdown(ctx context.Context) (bool, error) {
	resp, _, err := c.do(ctx, wire.Request{Op: wire.OpShutdown})
	return err == nil && !resp.Busy, err
}

// Watch gives the containers as they are and then every exit. The returned
// function blocks for the next event; it fails when the supervisor is gone or
// ctx ends, and then the connection is closed.
func (c *Client) Watch(ctx context.Context) ([]wire.Container, func() (wire.Event, error), error) {
	conn, resp, _, err := c.call(ctx, wire.Request{Op: wire.OpWatch})
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	next := func() (wire.Event, error) {
		var ev wire.Event
		_, err := wire.Read(conn, &ev)
		if err != nil {
			stop()
			_ = conn.Close()
			if errors.Is(err, io.EOF) {
				err = errs.New(errs.Unavailable, "the supervisor has ended")
			}
			return ev, fmt.Errorf("watch containers: %w", err)
		}
		return ev, nil
	}
	return resp.Containers, next, nil
}
