package testenv

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// mountSandbox makes the mount namespace private and mounts what shows the
// new namespaces: /proc, /sys with the machine's cgroups in it, and /run.
func mountSandbox(ns Namespace) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if ns&PID != 0 {
		if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/lock", 0o1777); err != nil {
		return err
	}
	if ns&Net == 0 {
		return nil
	}
	if err := mountSys(); err != nil {
		return err
	}
	return linkUp("lo")
}

// kept are filesystems below /sys that a new sysfs would hide: cgroup
// hierarchies, and what security modules are controlled with.
var kept = []string{"/sys/fs/cgroup", "/sys/kernel/security", "/sys/fs/selinux"}

// mountSys mounts a sysfs of the new network namespace, with what is kept where
// it was.
func mountSys() error {
	aside := map[string]string{}
	for _, dir := range kept {
		if !isMountPoint(dir) {
			continue
		}
		at, err := os.MkdirTemp("/run", "kept-*")
		if err != nil {
			return err
		}
		if err := syscall.Mount(dir, at, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
		aside[dir] = at
	}
	if err := syscall.Mount("sysfs", "/sys", "sysfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for dir, at := range aside {
		if err := syscall.Mount(at, dir, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s back: %w", dir, err)
		}
		if err := os.Remove(at); err != nil {
			return err
		}
	}
	return nil
}

// isMountPoint tells whether another filesystem is mounted on the directory.
func isMountPoint(dir string) bool {
	var at, above syscall.Stat_t
	return syscall.Lstat(dir, &at) == nil && syscall.Lstat(filepath.Dir(dir), &above) == nil && at.Dev != above.Dev
}

// linkUp sets a network interface up with the SIOCSIFFLAGS ioctl, netdevice(7).
func linkUp(name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	defer syscall.Close(fd)
	var req struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], name)
	req.flags = syscall.IFF_UP
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return fmt.Errorf("set link %s up: %w", name, errno)
	}
	return nil
}
