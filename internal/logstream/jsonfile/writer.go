// Package jsonfile writes container logs in Docker's json-file format: one JSON
// object a line, {"log":…,"stream":…,"attrs":…,"time":…}. The supervisor links
// it, so it imports next to nothing and encodes by hand.
//
// Invariants: an entry reaches the kernel in one write(2) before Write returns,
// so a killed supervisor loses none; a rotated file is complete before it is
// renamed, and a name once rotated is only ever renamed or removed.
package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Writer appends entries to one container's log and rotates it. It is safe for
// concurrent use by the container's two streams.
type Writer struct {
	path    string
	maxSize int64 // bytes; 0: never rotate
	maxFile int   // files in all
	gzip    bool
	attrs   []byte // encoded `"attrs":{…},` or nil

	compressing sync.WaitGroup

	mu   sync.Mutex
	file *os.File
	size int64
	buf  []byte
}

// New opens path for appending, creating it if need be.
func New(path string, maxSize int64, maxFile int, compress bool, attrs map[string]string) (*Writer, error) {
	w := &Writer{path: path, maxSize: maxSize, maxFile: max(maxFile, 1), gzip: compress, attrs: encodeAttrs(attrs)}
	return w, w.open()
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // the stat error is the one to report
		return fmt.Errorf("open log: %w", err)
	}
	w.file, w.size = f, info.Size()
	return nil
}

// Write appends one entry. line includes its newline; a partial entry has none,
// which is how readers know that the next one continues it.
func (w *Writer) Write(stream string, line []byte, t time.Time, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = appendEntry(w.buf[:0], stream, line, w.attrs, t)
	if w.maxSize > 0 && w.size > 0 && w.size+int64(len(w.buf)) > w.maxSize {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if w.file == nil { // an earlier rotation could not reopen
		if err := w.open(); err != nil {
			return err
		}
	}
	n, err := w.file.Write(w.buf)
	w.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if cap(w.buf) > 128<<10 {
		w.buf = nil
	}
	return nil
}

// rotate shifts path.1 … path.n-1 up and starts a new file.
func (w *Writer) rotate() error {
	w.compressing.Wait() // the shift must not overtake it
	err := w.file.Close()
	w.file = nil
	if err != nil {
		return fmt.Errorf("close log before rotation: %w", err)
	}
	if w.maxFile == 1 {
		err = os.Truncate(w.path, 0)
	} else {
		err = w.shift()
	}
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if w.gzip && w.maxFile > 1 {
		w.compressing.Go(func() { _ = compress(w.path + ".1") }) // the plain file stays readable if it fails
	}
	return w.open()
}

func (w *Writer) shift() error {
	for i := w.maxFile - 1; i >= 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			from := fmt.Sprintf("%s.%d%s", w.path, i, ext)
			var err error
			if i == w.maxFile-1 {
				err = os.Remove(from)
			} else {
				err = os.Rename(from, fmt.Sprintf("%s.%d%s", w.path, i+1, ext))
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.Rename(w.path, w.path+".1")
}

// Close ends the log. Nothing is buffered.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compressing.Wait()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
