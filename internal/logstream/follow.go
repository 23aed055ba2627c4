package logstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// follow gives what is appended to the log from current's position on; current
// is nil if there is no file yet. It closes current.
func (r *reader) follow(w *watch, path string, current *logFile) (err error) {
	defer func() {
		if current != nil {
			current.close()
		}
	}()
	if current != nil {
		r.in.Reset(current.f)
	}
	var until <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		until = timer.C
	}
	done, ended := r.opts.Done, false
	for {
		if current, err = r.catchUp(path, current); err != nil {
			return err
		}
		if ended {
			return r.torn()
		}
		select {
		case <-w.wake:
			if ended, err = removed(path, current); err != nil {
				return err
			}
		case <-done:
			ended = true // everything has been written: one more look gets it all
		case <-until:
			ended = true
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// removed tells whether the log is gone for good, as its container's: its
// directory, or all its files. (An open file keeps the kernel from telling of its
// directory's end; a rotation leaves at least one file at any moment.)
func removed(path string, current *logFile) (bool, error) {
	if current == nil {
		_, err := os.Stat(filepath.Dir(path))
		return errors.Is(err, fs.ErrNotExist), nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(current.f.Fd()), &st); err != nil {
		return false, fmt.Errorf("stat log: %w", err)
	}
	if st.Nlink > 0 {
		return false, nil
	}
	files, _, err := scan(path, nil)
	closeAll(files)
	return len(files) == 0, err
}

// catchUp reads to the end of the current file, over any rotations, and gives
// the file that is current then.
func (r *reader) catchUp(path string, current *logFile) (*logFile, error) {
	for {
		if current != nil {
			if err := r.grown(current); err != nil {
				return current, err
			}
			if current.isCurrent(path) {
				return current, nil
			}
		}
		next, err := successors(path, current)
		if err != nil || len(next) == 0 {
			return current, err
		}
		if current != nil {
			// The writer completed it before it made the next one: what came
			// since the last read is the rest.
			err = errors.Join(r.lines(), r.torn())
			current.close()
		}
		for len(next) > 1 && err == nil {
			err = r.whole(next[0])
			next[0].close()
			next = next[1:]
		}
		closeAll(next[:len(next)-1])
		current = next[len(next)-1]
		if err != nil {
			return current, err
		}
		if current.packed { // only if the newest name is gone just now
			err := r.whole(current)
			if err != nil {
				return current, err
			}
			continue
		}
		r.in.Reset(current.f)
	}
}

// grown reads what was appended. A file that someone emptied is read anew.
func (r *reader) grown(l *logFile) error {
	if err := r.lines(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(l.f.Fd()), &st); err != nil {
		return fmt.Errorf("stat log: %w", err)
	}
	at, err := l.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("seek in log: %w", err)
	}
	if st.Size >= at {
		return nil
	}
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("seek in log: %w", err)
	}
	r.rest, r.drop = nil, false
	r.in.Reset(l.f)
	return r.lines()
}

// successors opens the files that were started after current, oldest first; if
// current is gone altogether, or nil, all there are.
func successors(path string, current *logFile) ([]*logFile, error) {
	var stop *fileID
	if current != nil {
		stop = &current.id
	}
	files, _, err := scan(path, stop)
	slices.Reverse(files)
	return files, err
}
