package testenv

import (
	"fmt"
	"net"
	"os"
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

// mountSys mounts a sysfs of the new network namespace, with the cgroup
// hierarchies where they were.
func mountSys() error {
	const cgroups, aside = "/sys/fs/cgroup", "/run/cgroup"
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(cgroups, aside, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", cgroups, err)
	}
	if err := syscall.Mount("sysfs", "/sys", "sysfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := syscall.Mount(aside, cgroups, "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move cgroups to %s: %w", cgroups, err)
	}
	return os.Remove(aside)
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
