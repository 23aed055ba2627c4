package jsonfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Written counts the entries of a stream with exactly that time among the last
// ones of the stream: what a killed writer has written of them. Compressed files
// are not searched.
func (w *Writer) Written(stream string, t time.Time) (int, error) {
	total := 0
	for i := range w.maxFile {
		name := w.path
		if i > 0 {
			name = w.rotated(i)
		}
		n, more, err := countLast(name, stream, t)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("find last entries of log: %w", err)
		}
		if total += n; !more {
			break
		}
	}
	return total, nil
}

// countLast counts in one file; more tells that all its entries of the stream
// have that time, so that an older file may have some, too.
func countLast(name, stream string, t time.Time) (n int, more bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close() // read only
	// No string inside of an entry has such quotes: there they are escaped.
	mark := []byte(`,"stream":"` + stream + `",`)
	end := append(appendTime([]byte(`"time":"`), t), `"}`...)
	found, err := readBack(f, func(line []byte) bool {
		switch {
		case !bytes.Contains(line, mark), !bytes.HasSuffix(line, []byte(`"}`)): // cut short
			return true
		case !bytes.HasSuffix(line, end):
			return false
		}
		n++
		return true
	})
	return n, !found, err
}

// readBack gives the lines of a file from the last to the first until use says
// that it has enough; enough tells that it did.
func readBack(f *os.File, use func(line []byte) bool) (enough bool, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	block := make([]byte, batchSize)
	var rest []byte // the end of a line whose beginning is still to come
	for size > 0 {
		b := block[:min(size, batchSize)]
		size -= int64(len(b))
		if _, err := f.ReadAt(b, size); err != nil {
			return false, err
		}
		for i := bytes.LastIndexByte(b, '\n'); i >= 0; i = bytes.LastIndexByte(b, '\n') {
			line := slices.Concat(b[i+1:], rest)
			rest, b = nil, b[:i]
			if len(line) > 0 && !use(line) {
				return true, nil
			}
		}
		rest = slices.Concat(b, rest)
	}
	return len(rest) > 0 && !use(rest), nil
}
