package logstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
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

// maxEntry bounds an encoded entry: a line of 16 KiB, of which every byte may be
// escaped, with attributes. What is longer is no entry of ours.
const maxEntry = 4 << 20

// clockLag is more than a file's time can be behind that of its last entry: the
// kernel stamps files with a clock that advances by ticks.
const clockLag = time.Second

// Read gives the entries of the log at path to emit, oldest first. It ends with
// emit's error, with ctx's (when following: with nil if ctx is cancelled), or
// with nil at the end: of the log, of the time selected by Until, or with Done.
// A log that does not exist (yet) is empty.
func Read(ctx context.Context, path string, o Options, emit func(*Entry) error) error {
	var w *watch
	if o.Follow {
		var err error
		if w, err = newWatch(path); err != nil { // before the first look: nothing falls between
			return err
		}
		defer w.close()
	}
	r := &reader{ctx: ctx, opts: o, emit: emit, in: bufio.NewReaderSize(nil, 64<<10)}
	err := r.run(path, w)
	switch {
	case errors.Is(err, errUntil):
		return nil
	case o.Follow && errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil
	}
	return err
}

func (r *reader) run(path string, w *watch) error {
	files, _, err := scan(path, nil)
	if err != nil {
		return err
	}
	slices.Reverse(files) // oldest first
	if r.opts.Tail >= 0 {
		if files, r.skip, err = tail(files, r.opts.Tail); err != nil {
			return err
		}
	}
	defer func() { closeAll(files) }()
	for len(files) > 1 {
		if err := r.whole(files[0]); err != nil {
			return err
		}
		files[0].close()
		files = files[1:]
	}
	var current *logFile
	if len(files) == 1 {
		current, files = files[0], nil
	}
	if w != nil {
		return r.follow(w, path, current)
	}
	if current == nil {
		return nil
	}
	defer current.close()
	return r.whole(current)
}

// errUntil ends reading at the first entry after Options.Until.
var errUntil = errors.New("end of the selected time")

// reader turns lines into selected entries.
type reader struct {
	ctx  context.Context
	opts Options
	emit func(*Entry) error
	dec  decoder
	in   *bufio.Reader
	skip int    // entries to leave out first
	rest []byte // an incomplete last line
	drop bool   // within a line that is too long
}

// whole gives the entries of a file that does not grow any more.
func (r *reader) whole(l *logFile) error {
	if r.opts.Tail < 0 && l.mtime.Add(clockLag).Before(r.opts.Since) {
		return nil // its last entry is older than that
	}
	src, err := l.content()
	if err != nil {
		return nil // a damaged file must not hide the others
	}
	r.in.Reset(src)
	if err := r.lines(); err != nil {
		return err
	}
	return r.torn()
}

// lines gives all complete lines up to the end of the input.
func (r *reader) lines() error {
	for n := 0; ; n++ {
		if n%64 == 0 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
		}
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			r.keep(line)
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if errors.Is(err, io.EOF) || damaged(err) {
				return nil
			}
			return fmt.Errorf("read log: %w", err)
		}
		if len(r.rest) > 0 || r.drop {
			r.keep(line)
			line, r.rest = r.rest, nil
			if r.drop {
				r.drop = false
				continue
			}
		}
		if err := r.line(line); err != nil {
			return err
		}
	}
}

// damaged tells whether err is a compressed file's, whose rest is lost then, and
// not the disk's.
func damaged(err error) bool {
	var disk *fs.PathError
	return !errors.As(err, &disk)
}

// keep notes a part of a line until its end is there.
func (r *reader) keep(part []byte) {
	if r.drop || len(r.rest)+len(part) > maxEntry {
		r.drop, r.rest = true, nil
		return
	}
	r.rest = append(r.rest, part...)
}

// torn treats what is left without a newline at the end of a file: a whole entry
// counts, a part does not.
func (r *reader) torn() error {
	line := r.rest
	r.rest, r.drop = nil, false
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	return r.line(line)
}

func (r *reader) line(line []byte) error {
	e, err := r.dec.decode(line)
	if err != nil {
		return nil // a torn or foreign line must not hide the others
	}
	if r.skip > 0 {
		r.skip--
		return nil
	}
	if e.Time.Before(r.opts.Since) {
		return nil
	}
	if !r.opts.Until.IsZero() && e.Time.After(r.opts.Until) {
		return errUntil
	}
	return r.emit(&e)
}
