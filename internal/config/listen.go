package config

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
)

// Listen opens all of c.Hosts, or none. A unix socket that a dead daemon has
// left is replaced; one that is being served is errs.Conflict. Closing a
// listener removes its socket.
func Listen(c Config) (listeners []net.Listener, err error) {
	var undo cleanup.Stack
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.Run())
		}
	}()
	tlsConfig, err := serverTLS(c)
	if err != nil {
		return nil, err
	}
	for _, host := range c.Hosts {
		proto, addr, ok := strings.Cut(host, "://")
		if !ok {
			return nil, errs.New(errs.InvalidArgument, "bad format %s, expected PROTO://ADDR", host)
		}
		opened, err := listen(proto, addr, c.Group, tlsConfig)
		if err != nil {
			return nil, err
		}
		for _, l := range opened {
			undo.Push(func(context.Context) error { return l.Close() })
		}
		listeners = append(listeners, opened...)
	}
	undo.Release()
	return listeners, nil
}

func listen(proto, addr, group string, tlsConfig *tls.Config) ([]net.Listener, error) {
	switch proto {
	case "unix":
		l, err := listenUnix(addr, group)
		return []net.Listener{l}, err
	case "tcp":
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		if tlsConfig != nil {
			l = tls.NewListener(l, tlsConfig)
		}
		return []net.Listener{l}, nil
	case "fd":
		return activated(addr, tlsConfig)
	}
	return nil, errs.New(errs.InvalidArgument, "invalid protocol format: %q", proto)
}

// socketMode lets the owner and the group connect.
const socketMode = 0o660

// listenUnix makes a socket that at no moment anybody but the owner and the
// group can connect to.
func listenUnix(path, group string) (net.Listener, error) {
	gid, err := socketGroup(group)
	if err != nil {
		return nil, err
	}
	// The directory can be passed through, as the group has to, but not listed.
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make directory of socket %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// A socket file gets the mode that the socket had before it was bound.
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var chmodErr error
		err := conn.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err = os.Chown(path, 0, gid); os.Geteuid() != 0 {
		err = nil // an unprivileged daemon keeps its own user and group
	}
	if err == nil {
		err = os.Chmod(path, socketMode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set access of socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a daemon that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errs.New(errs.Conflict, "can't create unix socket %s: a file of that name is in the way", path)
	}
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err == nil {
		_ = conn.Close() // only to see that somebody answers
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.Conflict, "can't create unix socket %s: another daemon is listening on it", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// socketGroup finds the group by name or number. Without one it is docker's,
// so that docker's users need not change anything, then gantry's, then root's.
func socketGroup(name string) (gid int, err error) {
	candidates := []string{name}
	if name == "" {
		candidates = []string{"docker", "gantry"}
	}
	for _, candidate := range candidates {
		if found, err := user.LookupGroup(candidate); err == nil {
			return strconv.Atoi(found.Gid)
		}
	}
	if name == "" {
		return os.Getgid(), nil
	}
	if gid, err := strconv.Atoi(name); err == nil && gid >= 0 {
		return gid, nil
	}
	return 0, errs.New(errs.NotFound, "group %s not found", name)
}
