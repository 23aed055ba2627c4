package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// sendTimeout is how long somebody who wants a file may take to accept it, in seconds.
const sendTimeout = 10

// sendConsole passes a terminal's master over a unix socket in the way that
// runc's callers expect: one message whose text is the terminal's name.
func sendConsole(path string, console *os.File) error {
	if err := sendFile(path, []byte("/dev/ptmx"), int(console.Fd())); err != nil {
		return fmt.Errorf("send console: %w", err)
	}
	return nil
}

// SendPidFD passes PidFD over the unix stream socket at path in the way that runc
// does: one message whose text says whether it is that of an init ("standard") or of
// an exec ("setns").
func (p *Process) SendPidFD(path, kind string) error {
	if err := sendFile(path, []byte(kind), int(p.PidFD.Fd())); err != nil {
		return fmt.Errorf("send pidfd: %w", err)
	}
	return nil
}

// sendFile connects to the stream socket at path, however long that is, sends
// message together with an open file, and closes the connection.
func sendFile(path string, message []byte, file int) error {
	place, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "connect to", Path: path, Err: err}
	}
	defer fd.Close(place)
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(sock)
	if err := unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: sendTimeout}); err != nil {
		return err
	}
	err = unix.EINTR
	for errors.Is(err, unix.EINTR) { // with a timeout the kernel does not go on by itself
		err = unix.Connect(sock, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(place)})
	}
	if err != nil {
		return &os.PathError{Op: "connect to", Path: path, Err: err}
	}
	for rights := unix.UnixRights(file); len(message) > 0; {
		n, err := unix.SendmsgN(sock, message, rights, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "send to", Path: path, Err: err}
		}
		message, rights = message[n:], nil
	}
	return nil
}
