package logstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Options select entries.
type Options struct {
	Since, Until time.Time // zero: unbounded
	Tail         int       // the last n entries; negative: all
	Follow       bool
	// Done is closed when nothing more will be written; Follow then ends at
	// the end of the file.
	Done <-chan struct{}
}

// Read gives the entries of the log at path to emit, oldest first. It ends with
// emit's error, with ctx's, or with nil at the end. A log that does not exist
// (yet) is empty.
func Read(ctx context.Context, path string, o Options, emit func(*Entry) error) error {
	var w *watch
	if o.Follow {
		var err error
		if w, err = newWatch(path); err != nil { // before the first read: nothing falls between
			return err
		}
		defer w.close()
	}
	files, err := open(path)
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	skip := 0
	if o.Tail >= 0 {
		if files, skip, err = tail(files, o.Tail); err != nil {
			return err
		}
	}
	r := &reader{ctx: ctx, opts: o, emit: emit, skip: skip}
	for _, f := range files {
		if err := r.file(f); err != nil {
			return endOf(err)
		}
	}
	if !o.Follow {
		return endOf(r.torn())
	}
	var current *logFile
	if n := len(files); n > 0 && !files[n-1].rotated {
		current = files[n-1]
	}
	return endOf(r.follow(w, path, current))
}

// errUntil ends reading at the first entry after Options.Until.
var errUntil = errors.New("end of the selected time")

func endOf(err error) error {
	if errors.Is(err, errUntil) {
		return nil
	}
	return err
}

// logFile is one file of a log, open.
type logFile struct {
	f       *os.File
	in      *bufio.Reader
	rotated bool
	packed  bool // gzip: read to the end only
}

// maxRotated bounds the search for rotated files.
const maxRotated = 10000

// open opens all files of a log, oldest first. A file that is rotated away
// between the look at its name and its opening is met again under the next name,
// so the set is opened from the newest on and checked by identity.
func open(path string) ([]*logFile, error) {
	var files []*logFile
	add := func(name string, rotated, packed bool) (bool, error) {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			closeAll(files)
			return false, fmt.Errorf("open log: %w", err)
		}
		for _, have := range files {
			if sameFile(have.f, f) { // rotated meanwhile
				_ = f.Close()
				return true, nil
			}
		}
		files = append(files, &logFile{f: f, in: bufio.NewReaderSize(f, 64<<10), rotated: rotated, packed: packed})
		return true, nil
	}
	if _, err := add(path, false, false); err != nil {
		return nil, err
	}
	for i := 1; i < maxRotated; i++ {
		name := fmt.Sprintf("%s.%d", path, i)
		ok, err := add(name, true, false)
		if err == nil && !ok {
			ok, err = add(name+".gz", true, true)
		}
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
	}
	for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
		files[i], files[j] = files[j], files[i]
	}
	for _, l := range files {
		if l.packed {
			z, err := gzip.NewReader(l.f)
			if err != nil {
				closeAll(files)
				return nil, fmt.Errorf("open rotated log %s: %w", l.f.Name(), err)
			}
			l.in = bufio.NewReaderSize(z, 64<<10)
		}
	}
	return files, nil
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func closeAll(files []*logFile) {
	for _, l := range files {
		_ = l.f.Close() // read only
	}
}

// reader turns lines into selected entries.
type reader struct {
	ctx  context.Context
	opts Options
	emit func(*Entry) error
	skip int    // entries to leave out first
	rest []byte // an incomplete last line
	last time.Time
}

// file gives all complete lines up to the end of the file.
func (r *reader) file(l *logFile) error {
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		line, err := l.in.ReadSlice('\n')
		switch {
		case err == nil:
			if len(r.rest) > 0 {
				line = append(r.rest, line...)
				r.rest = nil
			}
			if err := r.line(line); err != nil {
				return err
			}
		case errors.Is(err, bufio.ErrBufferFull):
			r.rest = append(r.rest, line...)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			r.rest = append(r.rest, line...)
			if l.rotated { // complete by definition: a torn line stays torn
				return r.torn()
			}
			return nil
		default:
			return fmt.Errorf("read log: %w", err)
		}
	}
}

// torn treats what is left without a newline: a whole entry counts, a part does not.
func (r *reader) torn() error {
	line := r.rest
	r.rest = nil
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	if _, err := decode(line); err != nil {
		return nil
	}
	return r.line(line)
}

func (r *reader) line(line []byte) error {
	e, err := decode(line)
	if err != nil {
		return nil // a torn or foreign line must not hide the others
	}
	if r.skip > 0 {
		r.skip--
		return nil
	}
	r.last = e.Time
	if e.Time.Before(r.opts.Since) {
		return nil
	}
	if !r.opts.Until.IsZero() && e.Time.After(r.opts.Until) {
		return errUntil
	}
	return r.emit(&e)
}
