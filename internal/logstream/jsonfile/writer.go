// Package jsonfile writes container logs in Docker's json-file format: one JSON
// object a line, {"log":…,"stream":…,"attrs":…,"time":…}. The supervisor links
// it, so it imports next to nothing and encodes by hand.
//
// Invariants: entries reach the kernel in whole lines, before Write or Flush
// returns, so a killed supervisor loses none; a file is complete before the next
// one exists, and a name once rotated is only ever renamed, compressed or
// removed; nothing that goes wrong while rotating keeps entries from being
// written.
package jsonfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// batchSize is how many encoded bytes Append collects before it writes.
	batchSize = 64 << 10
	// retryAfter is how long a rotation that failed is not tried again.
	retryAfter = time.Second
)

// Writer appends entries to one container's log and rotates it. It is safe for
// concurrent use by the container's two streams.
type Writer struct {
	path    string
	maxSize int64 // bytes; 0: never rotate
	maxFile int   // files in all, the current one included
	gzip    bool
	attrs   []byte // encoded `"attrs":{…},` or nil

	packer sync.WaitGroup // compression in the background

	mu      sync.Mutex
	file    *os.File
	size    int64   // of the file
	batch   *[]byte // what buf was made of; nil: nothing is collected
	buf     []byte
	torn    bool // the file does not end with a newline
	at      time.Time
	stamp   []byte // at, encoded
	retry   time.Time
	oldest  int // greatest index of a rotated file that may exist
	packing int // index of the file that is being compressed; 0: none
}

// New opens path for appending, creating it if need be. maxSize is in bytes, 0
// for no limit; of maxFile files, at least one, all but the current are
// compressed if compress is set.
func New(path string, maxSize int64, maxFile int, compress bool, attrs map[string]string) (*Writer, error) {
	w := &Writer{path: path, maxSize: maxSize, maxFile: max(maxFile, 1), gzip: compress, attrs: encodeAttrs(attrs)}
	var err error
	if w.oldest, err = findOldest(path); err != nil {
		return nil, err
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	if w.gzip {
		w.mu.Lock()
		w.pack() // what a killed writer did not come to
		w.mu.Unlock()
	}
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		var last [1]byte
		_, err = f.ReadAt(last[:], info.Size()-1)
		w.torn = last[0] != '\n'
	}
	if err != nil {
		_ = f.Close() // the first error is the one to report
		return fmt.Errorf("open log: %w", err)
	}
	w.file, w.size = f, info.Size()
	return nil
}

// Write appends one entry and hands it to the kernel. line includes its
// newline; a partial entry has none, which is how readers know that the next
// one continues it. An entry that cannot be written is lost.
func (w *Writer) Write(stream string, line []byte, t time.Time, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.append(stream, line, t), w.flush())
}

// Append is Write for a caller that has more entries at hand: they reach the
// kernel together, at the latest with Flush, which must follow.
func (w *Writer) Append(stream string, line []byte, t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.append(stream, line, t)
}

// Flush hands all appended entries to the kernel.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

// batches are buffers that nobody is filling: a writer has one only between the
// first entry of a batch and its flush.
var batches = sync.Pool{New: func() any { b := make([]byte, 0, batchSize+batchSize/2); return &b }}

func (w *Writer) append(stream string, line []byte, t time.Time) (err error) {
	if w.batch == nil {
		w.batch = batches.Get().(*[]byte)
		w.buf = (*w.batch)[:0]
	}
	if !t.Equal(w.at) || w.stamp == nil {
		w.at, w.stamp = t, appendTime(w.stamp[:0], t)
	}
	have := len(w.buf)
	w.buf = appendEntry(w.buf, stream, line, w.attrs, w.stamp)
	if full := w.size + int64(have); w.maxSize > 0 && full > 0 && w.size+int64(len(w.buf)) > w.maxSize {
		err = errors.Join(w.write(w.buf[:have]), w.rotate())
		w.buf = append(w.buf[:0], w.buf[have:]...)
	}
	if len(w.buf) >= batchSize {
		err = errors.Join(err, w.flush())
	}
	return err
}

// flush writes what has been collected and gives the buffer back.
func (w *Writer) flush() error {
	err := w.write(w.buf)
	if w.batch != nil && cap(w.buf) <= 4*batchSize {
		*w.batch = w.buf[:0]
		batches.Put(w.batch)
	}
	w.batch, w.buf = nil, nil
	return err
}

func (w *Writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if w.file == nil {
		return fmt.Errorf("write log: %w", os.ErrClosed)
	}
	if w.torn {
		// A line that a crash or a full disk cut short must not swallow the next.
		n, err := w.file.Write([]byte{'\n'})
		w.size += int64(n)
		if err != nil {
			return fmt.Errorf("write log: %w", err)
		}
		w.torn = false
	}
	n, err := w.file.Write(b)
	w.size += int64(n)
	if n > 0 {
		w.torn = b[n-1] != '\n'
	}
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// Close ends the log, once compression is done. It may be called twice.
func (w *Writer) Close() error {
	w.mu.Lock()
	err := w.flush()
	if w.file == nil {
		err = nil // closed before
	} else {
		err = errors.Join(err, w.file.Close())
		w.file = nil
	}
	w.mu.Unlock()
	w.packer.Wait()
	return err
}
