package supervisor

import (
	"bytes"
	"time"
)

// maxLine is where a longer line is cut into partial entries, as Docker's
// copier does (16 KiB).
const maxLine = 16 << 10

// logWriter takes the entries of one container's log. Write is called from one
// goroutine per stream; implementations are safe for that.
type logWriter interface {
	Write(stream string, line []byte, t time.Time, partial bool) error
	Close() error
}

// lines cuts a stream into log entries. An incomplete last line waits for its
// end, for maxLine bytes or for the end of the stream.
type lines struct {
	stream string
	log    logWriter
	rest   []byte
}

func (l *lines) write(data []byte) error {
	now := time.Now()
	for len(data) > 0 {
		room := maxLine - len(l.rest)
		i := bytes.IndexByte(data, '\n') + 1
		switch {
		case i > 0 && i <= room+1: // the newline itself does not count
			if err := l.emit(data[:i], now, false); err != nil {
				return err
			}
			data = data[i:]
		case len(data) >= room:
			if err := l.emit(data[:room], now, true); err != nil {
				return err
			}
			data = data[room:]
		default:
			l.rest = append(l.rest, data...)
			return nil
		}
	}
	return nil
}

// flush writes what is left at the end of the stream.
func (l *lines) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	return l.emit(nil, time.Now(), false)
}

func (l *lines) emit(part []byte, t time.Time, partial bool) error {
	if len(l.rest) > 0 {
		part = append(l.rest, part...)
		l.rest = l.rest[:0]
		if cap(part) > 2*maxLine {
			l.rest = nil
		}
	}
	return l.log.Write(l.stream, part, t, partial)
}
