package logstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch tells that something happened to a log's directory.
type watch struct {
	f    *os.File
	wake chan struct{} // capacity 1
	done chan struct{}
}

// newWatch watches the directory: the file itself is replaced at rotation.
func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log: %w", err)
	}
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVE | unix.IN_DELETE | unix.IN_DELETE_SELF
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch log directory: %w", err)
	}
	w := &watch{f: os.NewFile(uintptr(fd), "inotify"), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *watch) run() {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		if _, err := w.f.Read(buf); err != nil {
			return // closed
		}
		select {
		case w.wake <- struct{}{}:
		default: // a look is pending already
		}
	}
}

func (w *watch) close() {
	_ = w.f.Close() // wakes run
	<-w.done
}

// follow gives what is appended to the log from l's position on; l is nil if
// there is no current file yet.
func (r *reader) follow(w *watch, path string, l *logFile) error {
	done := r.opts.Done
	ended := false
	for {
		var err error
		if l, err = r.catchUp(path, l); err != nil {
			return err
		}
		if ended {
			return r.torn()
		}
		select {
		case <-w.wake:
		case <-done:
			ended = true // everything has been written: one more look gets it all
		case <-r.ctx.Done():
			return ignoreCanceled(r.ctx)
		}
	}
}

func ignoreCanceled(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return ctx.Err()
}

// catchUp reads to the end of the current file, over any rotations.
func (r *reader) catchUp(path string, l *logFile) (*logFile, error) {
	for {
		if l != nil {
			if err := r.file(l); err != nil {
				return l, err
			}
		}
		next, err := successor(path, l)
		if err != nil || next == nil {
			return l, err
		}
		if l != nil {
			// The writer has closed it: what came since the last read is the rest.
			if err := r.file(l); err != nil {
				return next, err
			}
			_ = l.f.Close() // read only; closing twice at the very end is harmless
		}
		l = next
	}
}

// successor opens the file that was started after l, nil while l is current.
func successor(path string, l *logFile) (*logFile, error) {
	newer := path
	for i := 0; i < maxRotated; i++ {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			if i == 0 {
				return nil, nil // between two files, or not created yet
			}
			break // compressed already, or gone: go on with the newest that is known
		}
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		same := l != nil && sameFile(l.f, f)
		_ = f.Close()
		if same && i == 0 {
			return nil, nil
		}
		if same || l == nil {
			break
		}
		newer = name
	}
	f, err := os.Open(newer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // rotated meanwhile: the next look finds it
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &logFile{f: f, in: bufio.NewReaderSize(f, 64<<10)}, nil
}
