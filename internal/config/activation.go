package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/gantry-run/gantry/internal/errs"
)

// firstActivated is the first descriptor of a socket that a service manager
// passes (SD_LISTEN_FDS_START of sd_listen_fds(3)).
const firstActivated = 3

// activated gives the listeners that the service manager has opened: all for
// "" or "*", or the one with the given descriptor. TLS is for TCP only.
func activated(addr string, tlsConfig *tls.Config) ([]net.Listener, error) {
	count := activatedCount()
	if count == 0 {
		return nil, errs.New(errs.InvalidArgument, "no sockets found via socket activation: make sure the service was started by systemd")
	}
	first, last := firstActivated, firstActivated+count-1
	if addr != "" && addr != "*" {
		fd, err := strconv.Atoi(addr)
		if err != nil {
			return nil, errs.New(errs.InvalidArgument, "failed to parse systemd fd address: should be a number: %v", addr)
		}
		if fd < first || fd > last {
			return nil, errs.New(errs.InvalidArgument, "too few socket activated files passed in by systemd")
		}
		first, last = fd, fd
	}
	var listeners []net.Listener
	for fd := first; fd <= last; fd++ {
		l, err := listenerOf(uintptr(fd))
		if err != nil {
			for _, opened := range listeners {
				err = errors.Join(err, opened.Close())
			}
			return nil, err
		}
		if tlsConfig != nil && l.Addr().Network() == "tcp" {
			l = tls.NewListener(l, tlsConfig)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// activatedCount is how many sockets were passed to this very process.
func activatedCount() int {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return 0
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return 0
	}
	return max(count, 0)
}

// listenerOf takes over a passed descriptor. The listener has a copy that no
// child inherits, the original is closed.
func listenerOf(fd uintptr) (net.Listener, error) {
	file := os.NewFile(fd, "LISTEN_FD_"+strconv.Itoa(int(fd)))
	l, err := net.FileListener(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on socket activated file %d: %w", fd, err), file.Close())
	}
	if err := file.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("close socket activated file %d: %w", fd, err), l.Close())
	}
	return l, nil
}
