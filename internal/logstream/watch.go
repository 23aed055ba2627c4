package logstream

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// watch tells that something happened in a log's directory.
type watch struct {
	dir  *watchedDir
	wake chan struct{} // capacity 1
}

// watcher is the process's one inotify instance: a user may have few of them
// (128 by default), but many watches. It exists while anyone watches.
var watcher struct {
	mu   sync.Mutex
	f    *os.File
	fd   int
	dirs map[int32]*watchedDir
	done chan struct{} // closed when its goroutine has ended
}

type watchedDir struct {
	wd      int32
	watches map[*watch]struct{}
}

// watchMask are the events that can mean new entries or a rotation, and the end.
const watchMask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVE | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// newWatch watches the directory of path: the file itself is replaced at rotation.
func newWatch(path string) (*watch, error) {
	watcher.mu.Lock()
	defer watcher.mu.Unlock()
	if watcher.f == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("watch log: %w", err)
		}
		watcher.f, watcher.fd = os.NewFile(uintptr(fd), "inotify"), fd
		watcher.dirs, watcher.done = map[int32]*watchedDir{}, make(chan struct{})
		go dispatch(watcher.f, watcher.done)
	}
	wd, err := unix.InotifyAddWatch(watcher.fd, filepath.Dir(path), watchMask)
	if err != nil {
		stopIfIdle()
		return nil, fmt.Errorf("watch log directory: %w", err)
	}
	d := watcher.dirs[int32(wd)]
	if d == nil {
		d = &watchedDir{wd: int32(wd), watches: map[*watch]struct{}{}}
		watcher.dirs[d.wd] = d
	}
	w := &watch{dir: d, wake: make(chan struct{}, 1)}
	d.watches[w] = struct{}{}
	return w, nil
}

func (w *watch) close() {
	watcher.mu.Lock()
	defer watcher.mu.Unlock()
	delete(w.dir.watches, w)
	if len(w.dir.watches) == 0 && watcher.dirs[w.dir.wd] == w.dir {
		delete(watcher.dirs, w.dir.wd)
		_, _ = unix.InotifyRmWatch(watcher.fd, uint32(w.dir.wd)) // gone already if the directory is
	}
	stopIfIdle()
}

// stopIfIdle ends the instance with its last watch and waits for its goroutine,
// which takes the lock only to look, never while it is told to end.
func stopIfIdle() {
	if len(watcher.dirs) > 0 || watcher.f == nil {
		return
	}
	f, done := watcher.f, watcher.done
	watcher.f = nil
	_ = f.Close() // wakes the goroutine
	watcher.mu.Unlock()
	<-done
	watcher.mu.Lock()
}

// dispatch wakes the watches of the directories in which something happened.
func dispatch(f *os.File, done chan struct{}) {
	defer close(done)
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return // closed
		}
		notify(f, buf[:n])
	}
}

// notify takes a sequence of struct inotify_event, 16 bytes and a name each.
func notify(f *os.File, events []byte) {
	watcher.mu.Lock()
	defer watcher.mu.Unlock()
	if watcher.f != f {
		return // the events of an instance that has ended
	}
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		name := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(unix.SizeofInotifyEvent+name, len(events)):]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, d := range watcher.dirs {
				d.wakeAll()
			}
			continue
		}
		d := watcher.dirs[wd]
		if d == nil {
			continue
		}
		d.wakeAll()
		if mask&unix.IN_IGNORED != 0 { // the directory is gone; the number may be used again
			delete(watcher.dirs, wd)
		}
	}
}

func (d *watchedDir) wakeAll() {
	for w := range d.watches {
		select {
		case w.wake <- struct{}{}:
		default: // a look is pending already
		}
	}
}
