package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// rotated names the i-th newest of the files that are complete.
func (w *Writer) rotated(i int) string { return w.path + "." + strconv.Itoa(i) }

// rotate starts a new file. If that fails, entries go on into the old one. The
// lock is held, the buffer flushed.
func (w *Writer) rotate() error {
	if now := time.Now(); now.Before(w.retry) {
		return nil
	}
	old := w.file
	err := w.replace()
	if err != nil {
		w.retry = time.Now().Add(retryAfter)
		return fmt.Errorf("rotate log: %w", err)
	}
	if old != nil {
		err = old.Close()
	}
	if w.gzip && w.maxFile > 1 {
		w.pack()
	}
	if err != nil {
		return fmt.Errorf("close rotated log: %w", err)
	}
	return nil
}

// replace puts a new file in the place of the current one, which keeps a name
// unless it is the only one allowed: a reader that has it open reads its end.
func (w *Writer) replace() error {
	if w.maxFile == 1 {
		next := w.path + ".new"
		f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o640)
		if err != nil {
			return err
		}
		if err := os.Rename(next, w.path); err != nil {
			return errors.Join(err, f.Close(), os.Remove(next))
		}
		w.file, w.size, w.torn = f, 0, false
		return nil
	}
	if err := w.shift(); err != nil {
		return err
	}
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	w.file, w.size, w.torn = f, 0, false
	return nil
}

// shift renames path.n-1 … path.1 and path one up each, from the top, so that
// every file has a name all the time. A missing name is a gap that an
// interrupted shift left; it closes by itself.
func (w *Writer) shift() error {
	for i := w.oldest; i >= 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			from := w.rotated(i) + ext
			var err error
			if i >= w.maxFile-1 {
				err = os.Remove(from)
			} else {
				err = os.Rename(from, w.rotated(i+1)+ext)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if w.packing == i {
			w.packing++
		}
	}
	if err := os.Rename(w.path, w.rotated(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.oldest = min(w.oldest+1, w.maxFile-1)
	return nil
}

// findOldest gives the greatest number in the names of rotated files, 0 if there
// are none.
func findOldest(path string) (int, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, fmt.Errorf("list rotated logs: %w", err)
	}
	defer dir.Close() // read only
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("list rotated logs: %w", err)
	}
	oldest := 0
	for _, name := range names {
		number, ok := strings.CutPrefix(name, filepath.Base(path)+".")
		if !ok {
			continue
		}
		if i, err := strconv.Atoi(strings.TrimSuffix(number, ".gz")); err == nil {
			oldest = max(oldest, i)
		}
	}
	return oldest, nil
}
