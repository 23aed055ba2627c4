package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
	"golang.org/x/sys/unix"
)

// sysctl reads a value of the calling thread's namespace.
func sysctl(path string) (string, error) {
	data, err := os.ReadFile("/proc/sys/net/" + path)
	return strings.TrimSpace(string(data)), err
}

// setSysctl writes a value of the calling thread's namespace unless it has it.
func setSysctl(path, value string) error {
	if old, err := sysctl(path); err == nil && old == value {
		return nil
	}
	return writeSysctl(path, value)
}

func writeSysctl(path, value string) error {
	fd, err := unix.Open("/proc/sys/net/"+path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/proc/sys/net/" + path, Err: err}
	}
	_, err = unix.Write(fd, []byte(value))
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return &fs.PathError{Op: "write", Path: "/proc/sys/net/" + path, Err: err}
	}
	return nil
}

// applySysctls writes a container's net.* settings in its namespace.
func applySysctls(settings map[string]string) error {
	for key, value := range settings {
		path, err := sysctlPath(key)
		if err != nil {
			return err
		}
		if err := writeSysctl(path, value); err != nil {
			return errs.Wrap(errs.InvalidArgument, fmt.Errorf("write sysctl key %s: %w", key, err))
		}
	}
	return nil
}

// sysctlPath turns "net.ipv4.conf.eth0/1.forwarding" into the file's path below
// /proc/sys/net: dots separate, and a slash stands for a dot in a name.
func sysctlPath(key string) (string, error) {
	rest, ok := strings.CutPrefix(strings.ReplaceAll(key, "/", "\x00"), "net.")
	if !ok || rest == "" {
		return "", errs.New(errs.InvalidArgument, "sysctl %q is not of the network", key)
	}
	parts := strings.Split(rest, ".")
	for i, p := range parts {
		p = strings.ReplaceAll(p, "\x00", ".")
		if p == "" || p == "." || p == ".." {
			return "", errs.New(errs.InvalidArgument, "sysctl %q is not valid", key)
		}
		parts[i] = p
	}
	return strings.Join(parts, "/"), nil
}

// haveIPv6 tells whether the kernel has IPv6 at all.
func haveIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}
