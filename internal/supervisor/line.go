package supervisor

import (
	"bytes"
	"errors"
	"time"
)

// maxLine is where a longer line is cut into partial entries, as Docker's
// copier does (16 KiB).
const maxLine = 16 << 10

// logWriter takes the entries of one container's log. Append is called from one
// goroutine per stream; implementations are safe for that. Entries are in the
// log after Flush at the latest.
type logWriter interface {
	Append(stream string, line []byte, t time.Time) error
	Flush() error
	// Written counts the entries of that stream and time at the end of the log.
	Written(stream string, t time.Time) (int, error)
	Close() error
}

// lines cuts a stream into log entries. An incomplete last line waits for its
// end, for maxLine bytes or for the end of the stream.
type lines struct {
	stream string
	log    logWriter
	spool  *spool // nil: a killed supervisor loses what it has taken
	rest   []byte
	last   time.Time
	skip   int // entries that are in the log already
}

// write logs data, which is also the end of what the spool has.
func (l *lines) write(data []byte) error { return l.writeAt(l.now(), data) }

// now gives a new time for each call: it tells whose entries they are.
func (l *lines) now() time.Time {
	now := time.Now()
	if !now.After(l.last) {
		now = l.last.Add(1)
	}
	l.last = now
	return now
}

func (l *lines) writeAt(now time.Time, data []byte) error {
	var before, after error
	if l.spool != nil {
		before = l.spool.logging(now)
	}
	err := errors.Join(l.cut(data, now), l.log.Flush())
	if l.spool != nil {
		after = l.spool.logged(len(l.rest))
	}
	return errors.Join(before, err, after)
}

// replay logs what an earlier supervisor had taken and not logged when it was
// killed, without what it had logged of that.
func (l *lines) replay() error {
	if l.spool == nil || l.spool.begin == l.spool.end {
		return nil
	}
	data, err := l.spool.unlogged()
	if err != nil {
		return err
	}
	at, interrupted := l.spool.interrupted()
	if !interrupted {
		return l.write(data)
	}
	if l.skip, err = l.log.Written(l.stream, at); err != nil {
		return err
	}
	err = l.writeAt(at, data)
	l.skip = 0
	return err
}

// cut emits all entries, also after one could not be written.
func (l *lines) cut(data []byte, now time.Time) (err error) {
	emit := func(n int) {
		if e := l.emit(data[:n], now); err == nil {
			err = e
		}
		data = data[n:]
	}
	for len(data) > 0 {
		room := maxLine - len(l.rest)
		i := bytes.IndexByte(data, '\n') + 1
		switch {
		case i > 0 && i <= room+1: // the newline itself does not count
			emit(i)
		case len(data) >= room:
			emit(room)
		default:
			l.rest = append(l.rest, data...)
			return err
		}
	}
	return err
}

// flush writes what is left at the end of the stream.
func (l *lines) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	now := l.now()
	var err error
	if l.spool != nil {
		err = l.spool.logging(now)
	}
	err = errors.Join(err, l.emit(nil, now), l.log.Flush())
	if l.spool != nil {
		err = errors.Join(err, l.spool.logged(0))
	}
	return err
}

func (l *lines) emit(part []byte, t time.Time) error {
	if len(l.rest) > 0 {
		part = append(l.rest, part...)
		l.rest = l.rest[:0]
		if cap(part) > 2*maxLine {
			l.rest = nil
		}
	}
	if l.skip > 0 {
		l.skip--
		return nil
	}
	return l.log.Append(l.stream, part, t)
}
