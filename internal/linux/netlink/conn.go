// Package netlink is the door to the kernel's links, addresses, routes and
// neighbours. A Request is one message; Conn.Do sends any number of them in one
// system call. Values for requests are made by the functions beside it; reading
// lists is in query.go.
//
// Which links should exist, and what for, does not belong here. A Conn speaks
// to the namespace of the thread that opened it, for ever.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Request is one message with what it is for, which prefixes its error.
type Request struct {
	what   string
	msg    *nl.NetlinkRequest
	ignore []unix.Errno // answers that mean that the work is done already
	answer func(*nl.IfInfomsg, []syscall.NetlinkRouteAttr) error
}

// Conn is a route netlink socket. It is safe for concurrent use; calls are
// performed one after the other.
type Conn struct {
	mu  sync.Mutex
	fd  int
	buf []byte
}

// Open opens a connection to the calling thread's namespace.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	// Errors without a copy of the request keep the answers small.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("open route netlink: %w", err), unix.Close(fd))
	}
	return &Conn{fd: fd}, nil
}

// Close closes the socket. Closing twice is no error.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// Do performs the requests in order with one system call. The kernel goes on
// after a request that fails; the error joins all that failed.
func (c *Conn) Do(reqs ...Request) error {
	if len(reqs) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return fmt.Errorf("%s: %w", reqs[0].what, errClosed)
	}
	var out []byte
	for _, r := range reqs {
		out = append(out, r.msg.Serialize()...)
	}
	if err := c.send(out); err != nil {
		return fmt.Errorf("%s: send: %w", reqs[0].what, err)
	}
	return c.receive(reqs)
}

var errClosed = errors.New("netlink connection is closed")

func (c *Conn) send(out []byte) error {
	for {
		err := unix.Sendto(c.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// receive collects the acknowledgement of every request.
func (c *Conn) receive(reqs []Request) error {
	if c.buf == nil {
		// One answer about a link with all its attributes takes 2 KB.
		c.buf = make([]byte, 16<<10)
	}
	pending := make(map[uint32]*Request, len(reqs))
	for i := range reqs {
		pending[reqs[i].msg.Seq] = &reqs[i]
	}
	var all error
	for len(pending) > 0 {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return errors.Join(all, fmt.Errorf("receive from route netlink: %w", err))
		}
		msgs, err := syscall.ParseNetlinkMessage(c.buf[:n])
		if err != nil {
			return errors.Join(all, fmt.Errorf("parse route netlink answer: %w", err))
		}
		for _, m := range msgs {
			r := pending[m.Header.Seq]
			if r == nil {
				continue // late answer to a call that gave up
			}
			done, err := r.take(m)
			if err != nil {
				all = errors.Join(all, fmt.Errorf("%s: %w", r.what, err))
			}
			if done {
				delete(pending, m.Header.Seq)
			}
		}
	}
	return all
}

// take handles one message about the request and tells whether it is the last.
func (r *Request) take(m syscall.NetlinkMessage) (done bool, err error) {
	if m.Header.Type != unix.NLMSG_ERROR {
		if r.answer == nil || m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			return false, nil
		}
		attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return false, err
		}
		return false, r.answer(nl.DeserializeIfInfomsg(m.Data), attrs)
	}
	if len(m.Data) < 4 {
		return true, unix.EBADMSG
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
	if errno == 0 {
		return true, nil
	}
	for _, ok := range r.ignore {
		if errno == ok {
			return true, nil
		}
	}
	return true, errno
}

// Ignoring gives the request with answers that count as success.
func (r Request) Ignoring(errnos ...unix.Errno) Request {
	r.ignore = append(r.ignore[:len(r.ignore):len(r.ignore)], errnos...)
	return r
}
