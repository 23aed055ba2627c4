package logstream

import (
	"bytes"
	"fmt"
	"io"
)

// tail finds the start of the last n entries: it drops the files before it,
// positions the first one left, and tells how many of its entries to skip.
func tail(files []*logFile, n int) (rest []*logFile, skip int, err error) {
	for i := len(files) - 1; i >= 0 && n > 0; i-- {
		l := files[i]
		if l.packed {
			// A compressed file is rare at the end of a tail: count by reading.
			have, err := countPacked(l)
			if err != nil {
				return nil, 0, err
			}
			if have >= n {
				return dropBefore(files, i), have - n, nil
			}
			n -= have
			continue
		}
		have, err := seekLast(l, n)
		if err != nil {
			return nil, 0, err
		}
		if have == n {
			return dropBefore(files, i), 0, nil
		}
		n -= have
	}
	if n == 0 && len(files) > 0 { // only what is written from now on
		last := files[len(files)-1]
		if last.rotated {
			closeAll(files)
			return nil, 0, nil
		}
		if _, err := last.f.Seek(0, io.SeekEnd); err != nil {
			return nil, 0, fmt.Errorf("seek in log: %w", err)
		}
		last.in.Reset(last.f)
		return dropBefore(files, len(files)-1), 0, nil
	}
	return files, 0, nil
}

func dropBefore(files []*logFile, i int) []*logFile {
	closeAll(files[:i])
	return files[i:]
}

// seekLast positions a file before its last n lines and tells how many it has
// of them. It reads from the end backwards.
func seekLast(l *logFile, n int) (have int, err error) {
	size, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("seek in log: %w", err)
	}
	buf := make([]byte, 64<<10)
	pos, start := size, int64(0)
	for pos > 0 && have < n {
		chunk := min(int64(len(buf)), pos)
		pos -= chunk
		if _, err := l.f.ReadAt(buf[:chunk], pos); err != nil {
			return 0, fmt.Errorf("read log: %w", err)
		}
		for i := int(chunk) - 1; i >= 0; i-- {
			at := pos + int64(i)
			if buf[i] != '\n' || at == size-1 {
				continue
			}
			if have++; have == n {
				start = at + 1
				break
			}
		}
	}
	if have < n && size > 0 {
		have++ // the first line has no newline before it
	}
	if _, err := l.f.Seek(start, io.SeekStart); err != nil {
		return 0, fmt.Errorf("seek in log: %w", err)
	}
	l.in.Reset(l.f)
	return have, nil
}

func countPacked(l *logFile) (int, error) {
	data, err := io.ReadAll(l.in)
	if err != nil {
		return 0, fmt.Errorf("read rotated log %s: %w", l.f.Name(), err)
	}
	l.in.Reset(bytes.NewReader(data))
	return bytes.Count(data, []byte{'\n'}), nil
}
