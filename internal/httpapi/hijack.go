package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/moby/moby/api/types"
	"golang.org/x/sys/unix"
)

// lingerTimeout is how long a finished stream waits for the client to close
// its side. Closing a socket with unread input resets the connection, which
// could take away output that the client has not read yet.
const lingerTimeout = 5 * time.Second

// hijacked is a connection that has been taken over from HTTP.
type hijacked struct {
	net.Conn
	// early is what the client sent before the take-over, already read by
	// the HTTP server.
	early *bytes.Reader
	// headSent says that nothing has been written behind the answer's head yet.
	headSent sync.Once
}

var _ engine.Conn = (*hijacked)(nil)

// Read gives what the client sends.
func (c *hijacked) Read(p []byte) (int, error) {
	if c.early.Len() > 0 {
		return c.early.Read(p)
	}
	return c.Conn.Read(p)
}

// Write sends output, the first of it only when the client has read the head.
func (c *hijacked) Write(p []byte) (int, error) {
	c.headSent.Do(c.awaitHead)
	return c.Conn.Write(p)
}

// headPatience bounds the wait for a client that does not read.
const headPatience = 500 * time.Millisecond

// awaitHead waits until the client has read what was sent, which a local socket
// tells. Docker's Python SDK reads the head through a buffer and the stream past
// it: output that comes with the head is lost to it, and with an exec of a few
// milliseconds it would come on a busy machine. Nearly always the head has been
// read by now, and this is one system call.
func (c *hijacked) awaitHead() {
	local, ok := c.Conn.(syscall.Conn)
	if !ok || c.LocalAddr().Network() != "unix" {
		return
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return
	}
	deadline := time.Now().Add(headPatience)
	for wait := 50 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 5*time.Millisecond) {
		unread := 0
		err := raw.Control(func(fd uintptr) { unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) // 0 if it cannot tell
		if err != nil || unread == 0 {
			return
		}
		time.Sleep(wait)
	}
}

// AwaitHangup asks the kernel whether the other side is closed altogether. A local
// socket knows at once. Over TCP that looks like the end of input, until a probe
// (keepalive) is answered by a reset: a minute or so after the client has gone.
func (c *hijacked) AwaitHangup() bool {
	conn := c.Conn
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	_ = raw.Read(func(fd uintptr) bool { // fails by the deadline that Close sets
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(p, 0)
		gone = err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return gone
	})
	return gone
}

// CloseWrite ends our side; the client may go on sending.
func (c *hijacked) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close one side of a %T: %w", c.Conn, errors.ErrUnsupported)
	}
	return half.CloseWrite()
}

// Close ends both directions for the backend: output that has been written still
// reaches the client, a pending Read returns. The descriptor itself is closed
// by finish.
func (c *hijacked) Close() error {
	return errors.Join(c.CloseWrite(), c.SetReadDeadline(time.Unix(1, 0)))
}

// finish closes the connection so that the client gets all output.
func (c *hijacked) finish() {
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		_, _ = io.Copy(io.Discard, c.Conn) // ends by the client's close or the deadline
	}
	_ = c.Conn.Close() // nothing is left to lose
}

// hijacker takes over the connection of one request, at most once.
type hijacker struct {
	w *reply
	r *request
	// conn is set once the connection has been taken over.
	conn *hijacked
	raw  bool // the stream is not multiplexed
}

// hijack answers with the headers that start a stream and gives the
// connection. It is handed to the backend, which calls it when nothing can
// fail with a status any more.
func (h *hijacker) hijack(tty bool) (engine.Conn, error) {
	conn, buffered, err := http.NewResponseController(h.w.ResponseWriter).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	h.w.begun, h.w.hijacked = true, true
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // exactly what is there: cannot fail
	h.conn, h.raw = &hijacked{Conn: conn, early: bytes.NewReader(bytes.Clone(early))}, tty
	// The server's deadlines were for the request's header.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clear deadline of stream: %w", err)
	}
	if _, err := conn.Write(h.header(tty)); err != nil {
		return nil, fmt.Errorf("start stream: %w", err)
	}
	return h.conn, nil
}

// header is the answer's head: 101 for clients that ask for an upgrade, else a
// plain 200 after which the connection is a stream just the same.
func (h *hijacker) header(tty bool) []byte {
	var b bytes.Buffer
	contentType := types.MediaTypeRawStream
	if _, upgrade := h.r.Header["Upgrade"]; upgrade {
		if !tty && !h.r.version.before(42) {
			contentType = types.MediaTypeMultiplexedStream
		}
		b.WriteString("HTTP/1.1 101 UPGRADED\r\nContent-Type: " + contentType + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n")
	} else {
		b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n")
	}
	_ = h.w.Header().Write(&b) // to memory
	b.WriteString("\r\n")
	return b.Bytes()
}

// finish ends the stream, if there is one.
func (h *hijacker) finish() {
	if h.conn != nil {
		h.conn.finish()
	}
}
