package container

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/term"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// Attach joins a client and a container's streams until either ends or the
// detach keys come. A container that is not running yet is attached when it starts.
func (s *Service) Attach(ctx context.Context, id string, o engine.Attach, hijack func(tty bool) (engine.Conn, error)) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	r := c.view()
	if r.State.Status == container.StatePaused {
		return errs.New(errs.Conflict, "container %s is paused, unpause the container before attach", id)
	}
	keys, err := detachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	var streams *net.UnixConn
	if o.Stream {
		want := wire.Attach{Stdin: o.Stdin && r.Config.OpenStdin, Stdout: o.Stdout, Stderr: o.Stderr}
		if streams, err = s.Supervisor.Attach(ctx, r.ID, want); err != nil {
			return err
		}
		defer streams.Close() //nolint:errcheck // closing is how we leave
	}
	conn, err := hijack(r.Config.Tty)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the client is done with it
	if o.Logs {
		opts := engine.ContainerLogs{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1}
		if err := s.Logs(ctx, r.ID, opts, func(bool) io.Writer { return conn }); err != nil {
			return err
		}
	}
	s.publish(&r, events.ActionAttach)
	if streams == nil {
		return nil
	}
	if join(conn, streams, o.Stdin, r.Config.Tty, keys, nil) {
		s.publish(&r, events.ActionDetach)
	}
	return nil
}

// detachKeys parses a sequence as Docker writes it; "" is the default.
func detachKeys(s string) ([]byte, error) {
	if s == "" {
		return []byte{16, 17}, nil // ctrl-p, ctrl-q
	}
	keys, err := term.ToBytes(s)
	if err != nil {
		return nil, errs.New(errs.InvalidArgument, "invalid detach keys provided")
	}
	return keys, nil
}

// join copies both ways. It returns when the container's side has ended or the
// client has gone or detached; the end of the client's input alone is passed on.
// settle, if set, runs before the client learns of the end.
func join(client engine.Conn, streams *net.UnixConn, stdin, tty bool, keys []byte, settle func()) (detached bool) {
	in := make(chan error, 1)
	go func() {
		var src io.Reader = client
		if tty && stdin {
			src = term.NewEscapeProxy(client, keys)
		}
		var err error
		if stdin {
			if _, err = io.Copy(streams, src); err == nil {
				err = streams.CloseWrite()
			}
		} else {
			_, err = io.Copy(io.Discard, src)
		}
		if err == nil && client.AwaitHangup() { // of which a quiet container would not tell
			err = net.ErrClosed
		}
		in <- err
	}()
	out := make(chan error, 1)
	go func() {
		_, err := io.Copy(client, streams)
		out <- err
	}()
	for {
		select {
		case err := <-in:
			var esc term.EscapeError
			if errors.As(err, &esc) {
				_ = streams.Close() // ends the output copy
				<-out
				return true
			}
			if err != nil && !errors.Is(err, io.EOF) { // the client's connection broke
				_ = streams.Close()
				<-out
				return false
			}
			in = nil
		case <-out:
			if settle != nil {
				settle()
			}
			_ = client.CloseWrite()
			return false
		}
	}
}

// Resize sets the size of the container's terminal.
func (s *Service) Resize(ctx context.Context, id string, height, width uint16) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	r := c.view()
	if !r.State.running() {
		return errs.New(errs.Conflict, "container %s is not running", r.ID)
	}
	if err := s.Supervisor.Resize(ctx, r.ID, "", height, width); err != nil {
		return err
	}
	s.publish(&r, events.ActionResize, "height", itoa(height), "width", itoa(width))
	return nil
}
