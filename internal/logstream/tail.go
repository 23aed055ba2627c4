package logstream

import (
	"bytes"
	"fmt"
	"io"
)

// tail finds the start of the last n entries: it closes and drops the files
// before it, positions the first one left, and tells how many of its entries to
// skip. files are oldest first.
func tail(files []*logFile, n int) (rest []*logFile, skip int, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	for i := len(files) - 1; i >= 0; i-- {
		l := files[i]
		var have int
		if l.packed {
			have, err = countPacked(l)
		} else {
			have, err = seekLast(l, n)
		}
		if err != nil {
			return nil, 0, err
		}
		if have >= n {
			closeAll(files[:i])
			if l.packed {
				skip = have - n
			}
			return files[i:], skip, nil
		}
		n -= have
	}
	return files, 0, nil
}

// seekLast positions a file before its last n lines and tells how many it has of
// them, at most n. It reads from the end backwards. What follows the last
// newline is no line (yet).
func seekLast(l *logFile, n int) (have int, err error) {
	size, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("seek in log: %w", err)
	}
	buf := make([]byte, min(size, 64<<10))
	start, newlines := int64(0), 0
	for pos := size; pos > 0 && newlines <= n; {
		chunk := buf[:min(int64(len(buf)), pos)]
		pos -= int64(len(chunk))
		if _, err := l.f.ReadAt(chunk, pos); err != nil {
			return 0, fmt.Errorf("read log: %w", err)
		}
		for i := bytes.LastIndexByte(chunk, '\n'); i >= 0; i = bytes.LastIndexByte(chunk[:i], '\n') {
			// n+1 newlines from the end, the n-th last line begins.
			if newlines++; newlines == n+1 {
				start = pos + int64(i) + 1
				break
			}
		}
	}
	if newlines == 0 && n == 0 {
		start = size // nothing but a torn line
	}
	if _, err := l.f.Seek(start, io.SeekStart); err != nil {
		return 0, fmt.Errorf("seek in log: %w", err)
	}
	return min(newlines, n), nil
}

// countPacked counts a compressed file's lines; a damaged one's up to the damage.
func countPacked(l *logFile) (int, error) {
	src, err := l.content()
	if err != nil {
		return 0, nil
	}
	n := 0
	buf := make([]byte, 64<<10)
	for {
		got, err := src.Read(buf)
		n += bytes.Count(buf[:got], []byte{'\n'})
		if err != nil {
			return n, nil
		}
	}
}
