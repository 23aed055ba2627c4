package httpapi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gantry-run/gantry/internal/engine"
	"golang.org/x/net/websocket"
)

// containerAttachWebsocket attaches over a websocket. Its output is never
// multiplexed.
func (a *api) containerAttachWebsocket(w *reply, r *request) error {
	all := r.version.before(42) // the parameters were ignored before
	s := &socket{w: w, r: r, done: make(chan struct{}), ended: make(chan struct{})}
	defer s.finish()
	return a.backend.Containers.Attach(r.Context(), r.name, engine.Attach{
		Stream: r.flag("stream"), Logs: r.flag("logs"),
		Stdin: all || r.flag("stdin"), Stdout: all || r.flag("stdout"), Stderr: all || r.flag("stderr"),
		DetachKeys: r.query.Get("detachKeys"),
	}, s.hijack)
}

// socket is the websocket of one request.
type socket struct {
	w     *reply
	r     *request
	done  chan struct{} // closed when the stream is over
	ended chan struct{} // closed when the websocket server has returned
	open  bool
}

// hijack makes the connection a websocket. The server of the websocket package
// closes the connection when its handler returns, so the handler waits in a
// goroutine until finish.
func (s *socket) hijack(tty bool) (engine.Conn, error) {
	s.open, s.w.begun, s.w.hijacked = true, true, true
	opened := make(chan *websocket.Conn, 1)
	server := websocket.Server{Handler: func(conn *websocket.Conn) {
		conn.PayloadType = websocket.BinaryFrame
		opened <- conn
		<-s.done
	}}
	go func() {
		defer close(s.ended)
		server.ServeHTTP(s.w.ResponseWriter, s.r.Request)
	}()
	select {
	case conn := <-opened:
		return &socketConn{Conn: conn, framed: !tty}, nil
	case <-s.ended:
		return nil, errors.New("websocket handshake failed")
	}
}

// finish ends the websocket, if there is one.
func (s *socket) finish() {
	close(s.done)
	if s.open {
		<-s.ended
	}
}

// frameHeader is the size of a stdcopy header: stream, three zeros, length.
const frameHeader = 8

// socketConn is an engine.Conn over a websocket. It takes the backend's
// stdcopy frames apart, as a websocket has frames of its own.
type socketConn struct {
	*websocket.Conn
	framed bool
	head   []byte // of the frame being received, while incomplete
	left   uint32 // bytes of the current frame's payload yet to come
}

var _ engine.Conn = (*socketConn)(nil)

// CloseWrite ends the stream; a websocket has no half-open state.
func (c *socketConn) CloseWrite() error { return c.Close() }

// AwaitHangup returns at once, for the same reason.
func (c *socketConn) AwaitHangup() bool { return true }

// Write sends what the client shall see of p.
func (c *socketConn) Write(p []byte) (int, error) {
	send := func(p []byte) error {
		_, err := c.Conn.Write(p)
		return err
	}
	if !c.framed {
		return len(p), send(p)
	}
	return c.payload(p, send)
}

// payload gives the payload of the frames in p, which may be cut anywhere, to
// send.
func (c *socketConn) payload(p []byte, send func([]byte) error) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if c.left == 0 {
			n := min(frameHeader-len(c.head), len(p))
			c.head, p = append(c.head, p[:n]...), p[n:]
			if len(c.head) == frameHeader {
				c.left, c.head = binary.BigEndian.Uint32(c.head[4:]), c.head[:0]
			}
			continue
		}
		n := min(int(c.left), len(p))
		if err := send(p[:n]); err != nil {
			return total - len(p), fmt.Errorf("write to websocket: %w", err)
		}
		c.left, p = c.left-uint32(n), p[n:]
	}
	return total, nil
}
