package process

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watch tells when something appears in a directory, as the daemon's socket does.
type watch struct {
	f       *os.File
	changed chan struct{}
	done    chan struct{}
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Non-blocking, so that Close ends a pending Read.
	w := &watch{f: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1), done: make(chan struct{})}
	go w.read()
	return w, nil
}

func (w *watch) read() {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		if _, err := w.f.Read(buf); err != nil {
			return
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// Close stops the watch and waits for its goroutine.
func (w *watch) Close() {
	_ = w.f.Close() // nothing was written
	<-w.done
}
