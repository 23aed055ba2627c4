// Package tty opens terminals inside a container's own devpts and hands their
// master side out. A path in the container is never trusted to be a terminal.
package tty

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Pair is a new terminal; both descriptors are close-on-exec and the caller's.
type Pair struct{ Master, Slave int }

// Open makes a terminal in the devpts of root; proc is a handle of
// mount.OpenProc's. The slave is opened through the master, not by its name, which
// the container could have put something else under (CVE-2025-52565).
func Open(root mount.Root, proc int) (p Pair, err error) {
	p = Pair{-1, -1}
	// The multiplexer is character device 5:2 wherever it lives (devices.txt).
	const major, minor, flags = 5, 2, unix.O_RDWR | unix.O_NOCTTY
	p.Master, err = root.OpenDevice(proc, "/dev/pts/ptmx", major, minor, flags)
	if err != nil {
		p.Master, err = root.OpenDevice(proc, "/dev/ptmx", major, minor, flags)
	}
	if errors.Is(err, mount.ErrOtherFile) {
		return p, errors.New("open terminal: /dev/ptmx is not a terminal multiplexer")
	}
	if err != nil {
		return p, fmt.Errorf("open terminal: %w", err)
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(p.Master, unix.TIOCSPTLCK, 0); err != nil {
		return p, fmt.Errorf("unlock terminal: %w", err)
	}
	p.Slave, err = peer(p.Master)
	if err != nil {
		return p, fmt.Errorf("open terminal's slave: %w", err)
	}
	if !mount.IsFilesystem(p.Slave, unix.DEVPTS_SUPER_MAGIC) {
		return p, errors.New("open terminal's slave: it is not on a devpts")
	}
	return p, nil
}

func peer(master int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Close closes both sides.
func (p *Pair) Close() {
	for _, fd := range []*int{&p.Master, &p.Slave} {
		if *fd >= 0 {
			_ = unix.Close(*fd) // a terminal has nothing to flush
			*fd = -1
		}
	}
}

// Resize sets the size of the terminal fd, either side.
func Resize(fd int, height, width uint16) error {
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// MakeControlling makes fd the controlling terminal of the calling process,
// which must lead its session and have none yet.
func MakeControlling(fd int) error {
	if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("set controlling terminal: %w", err)
	}
	return nil
}

// KeepLineEnds stops the terminal fd, either side, from making a return and a newline
// of each newline of its programs, for whoever shows them on another terminal, which
// does so itself, or nowhere.
func KeepLineEnds(fd int) error {
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read terminal mode: %w", err)
	}
	mode.Oflag &^= unix.ONLCR
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return fmt.Errorf("set terminal mode: %w", err)
	}
	return nil
}

// MakeRaw puts the terminal fd into raw mode, in which every byte of input passes
// unchanged, and returns what restores it. Output is translated as before: see
// KeepLineEnds.
func MakeRaw(fd int) (restore func() error, err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read terminal mode: %w", err)
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set terminal mode: %w", err)
	}
	return func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}
