package fd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A stream socket is an os.File here: the Go poller waits for it as for a pipe, it has
// deadlines, and a Close wakes whoever waits. Package net, which does the same and much
// more, is 190 KB of the runtime and 0.1 ms of each of its starts.

// SocketPair returns two connected stream sockets, both blocking.
func SocketPair() (ours, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("create socket pair: %w", err)
	}
	return fds[0], fds[1], nil
}

// Dial connects to the unix socket at a path, or, with a name that begins with "@", in
// the abstract namespace (unix(7)).
func Dial(name string) (*os.File, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("create socket: %w", err)
	}
	for {
		// It blocks where the other side's queue is full, which a socket that does not
		// block could only try again.
		if err = unix.Connect(s, &unix.SockaddrUnix{Name: name}); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		err = unix.SetNonblock(s, true)
	}
	if err != nil {
		Close(s)
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return os.NewFile(uintptr(s), name), nil
}

// Listening takes over a listening unix socket from whoever started this process, and
// tells its path.
func Listening(s int) (listener *os.File, path string, err error) {
	name, err := unix.Getsockname(s)
	if err == nil {
		err = unix.SetNonblock(s, true)
	}
	if err != nil {
		return nil, "", fmt.Errorf("take over listening socket: %w", err)
	}
	at, ok := name.(*unix.SockaddrUnix)
	if !ok {
		return nil, "", fmt.Errorf("descriptor %d is not a unix socket", s)
	}
	unix.CloseOnExec(s)
	return os.NewFile(uintptr(s), at.Name), at.Name, nil
}

// Accept waits for the next client. It fails with os.ErrClosed once the listener has
// been closed, and with what accept(2) says.
func Accept(listener *os.File) (client *os.File, err error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := -1
	closed := raw.Read(func(l uintptr) bool {
		for {
			s, _, err = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if closed != nil {
		return nil, os.ErrClosed // without a deadline there is no other reason not to wait
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(s), "client"), nil
}
