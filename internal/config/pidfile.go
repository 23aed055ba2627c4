package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantry-run/gantry/internal/errs"
)

// PidFile is the daemon's pid file, locked for as long as the daemon lives. The
// lock, not the number, tells whether the daemon lives: it goes with the
// process, while a number may belong to somebody else after a crash.
type PidFile struct {
	path string
	file *os.File
}

// WritePidFile writes the process's ID to path and locks it. A daemon that has
// locked it already is errs.Conflict; what a dead one has left is replaced.
func WritePidFile(path string) (*PidFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make directory of pid file: %w", err)
	}
	// A daemon that ends removes the file between our opening and locking it:
	// then the lock is on a file that nobody sees, and the next try gets it.
	for range 10 {
		file, err := lockPid(path)
		if err != nil {
			return nil, err
		}
		if file == nil {
			continue
		}
		if err := writePid(file); err != nil {
			return nil, errors.Join(fmt.Errorf("write pid file %s: %w", path, err), file.Close())
		}
		return &PidFile{path, file}, nil
	}
	return nil, fmt.Errorf("lock pid file %s: it keeps being replaced", path)
}

// lockPid gives the locked file, or nil if it has been removed meanwhile.
func lockPid(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open pid file: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		buf := make([]byte, 32)
		n, _ := file.ReadAt(buf, 0) // whatever it says is only for the message
		return nil, errors.Join(
			errs.New(errs.Conflict, "process with PID %s is still running", strings.TrimSpace(string(buf[:n]))), file.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock pid file %s: %w", path, err), file.Close())
	}
	ours, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at pid file %s: %w", path, err), file.Close())
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(ours, there) {
		return nil, file.Close()
	}
	return file, nil
}

func writePid(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(file, "%d", os.Getpid())
	return err
}

// Close removes the file and gives up the lock, in this order: nobody can lock
// a file that is about to vanish.
func (p *PidFile) Close() error {
	return errors.Join(os.Remove(p.path), p.file.Close())
}
