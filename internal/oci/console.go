package oci

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// sendConsole passes a terminal's master over a unix socket in the way that
// runc's callers expect: one message whose text is the terminal's name.
func sendConsole(path string, console *os.File) error {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("send console: %w", err)
	}
	defer fd.Close(sock)
	if err := unix.Connect(sock, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("send console: connect to %s: %w", path, err)
	}
	rights := unix.UnixRights(int(console.Fd()))
	if err := unix.Sendmsg(sock, []byte("/dev/ptmx"), rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send console: %w", err)
	}
	return nil
}
