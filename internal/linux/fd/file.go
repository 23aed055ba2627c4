package fd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFile reads a small file. It is os.ReadFile without the poller, whose
// set-up and registration take most of the time that a file of procfs or
// cgroupfs takes.
func ReadFile(name string) ([]byte, error) {
	h, err := openFile(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer Close(h)
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(h, buf[len(buf):cap(buf)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: name, Err: err}
		case n == 0:
			return buf, nil
		default:
			buf = buf[:len(buf)+n]
		}
	}
}

// WriteFile writes value to an existing file with one system call, as the
// kernel's files demand.
func WriteFile(name, value string) error {
	h, err := openFile(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer Close(h)
	for {
		_, err := unix.Write(h, []byte(value))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "write", Path: name, Err: err}
		}
		return nil
	}
}

func openFile(name string, flags int) (int, error) {
	for {
		h, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return h, nil
	}
}
