package logship

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/logstream"
)

// Job is a log to send.
type Job struct {
	Path     string          // of the log's file
	Position string          // of the file that says how far the sending has come
	Done     <-chan struct{} // closed when nothing more will be written; nil: nothing will
	Sink     Sink
	// Stalled, with room for one, holds something while the server takes no lines;
	// nil: nobody wants to know.
	Stalled chan struct{}
	Log     *slog.Logger
}

// Pace of the sending.
const (
	queueSize    = 1024 // lines read ahead
	batchSize    = 256
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 30 * time.Second
	saveInterval = time.Second
)

// position is where the sending has come: all lines before a time, and the first
// of those at that very time.
type position struct {
	Time time.Time `json:"time"`
	At   int       `json:"at"`
}

// Ship sends a log until it has been sent to its end, or ctx ends. It closes the
// job's sink.
func (j Job) Ship(ctx context.Context) error {
	s := &shipping{Job: j}
	if err := s.load(); err != nil {
		return errors.Join(err, j.Sink.Close())
	}
	lines := make(chan Line, queueSize)
	read := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(lines)
		read <- s.read(ctx, lines)
	}()
	err := s.send(ctx, lines)
	cancel()
	for range lines { // the reader may be about to give one
	}
	return errors.Join(err, <-read, s.save(), j.Sink.Close())
}

type shipping struct {
	Job
	at    position
	saved position
	since time.Time // of the last save
}

func (s *shipping) load() error {
	data, err := os.ReadFile(s.Position)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s.at)
	}
	s.saved = s.at
	return err
}

func (s *shipping) save() error {
	if s.at == s.saved {
		return nil
	}
	data, err := json.Marshal(s.at)
	if err == nil {
		err = atomicfile.Write(s.Position, data, 0o600, atomicfile.Volatile)
	}
	if err == nil {
		s.saved, s.since = s.at, time.Now()
	}
	return err
}

// read gives the lines that have not been sent.
func (s *shipping) read(ctx context.Context, to chan<- Line) error {
	from, skip := s.at.Time, s.at.At
	o := logstream.Options{Since: from, Tail: -1, Follow: s.Done != nil, Done: s.Done}
	long := map[string]*Part{} // lines that are not at their end, by stream
	return logstream.Read(ctx, s.Path, o, func(e *logstream.Entry) error {
		part := nextPart(long, e)
		if skip > 0 && e.Time.Equal(from) {
			skip--
			return nil
		}
		l := Line{Text: bytes.Clone(bytes.TrimSuffix(e.Line, []byte("\n"))), Stderr: e.Stream == "stderr", Time: e.Time, Part: part}
		select {
		case to <- l:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// nextPart tells which part of a line an entry is; nil if it is a whole one.
func nextPart(long map[string]*Part, e *logstream.Entry) *Part {
	before := long[e.Stream]
	if before == nil && !e.Partial {
		return nil
	}
	p := Part{Ordinal: 1, Last: !e.Partial}
	if before != nil {
		p.ID, p.Ordinal = before.ID, before.Ordinal+1
	} else {
		id := make([]byte, 32)
		_, _ = rand.Read(id) // it never fails
		p.ID = hex.EncodeToString(id)
	}
	delete(long, e.Stream)
	if e.Partial {
		long[e.Stream] = &p
	}
	return &p
}

// send sends what comes, as much at a time as is there.
func (s *shipping) send(ctx context.Context, lines <-chan Line) error {
	batch := make([]Line, 0, batchSize)
	for l := range lines {
		batch = append(batch[:0], l)
	more:
		for len(batch) < batchSize {
			select {
			case l, ok := <-lines:
				if !ok {
					break more
				}
				batch = append(batch, l)
			default:
				break more
			}
		}
		if err := s.deliver(ctx, batch); err != nil {
			return err
		}
		if time.Since(s.since) >= saveInterval {
			if err := s.save(); err != nil {
				s.Log.Warn("remember how far a log has been sent", "log", s.Path, "error", err)
			}
		}
	}
	return nil
}

// deliver sends a batch, for as long as it takes. Lines that the server refuses for
// good are left out, or nothing would ever come after them.
func (s *shipping) deliver(ctx context.Context, batch []Line) error {
	wait, told, refused := firstBackoff, false, 0
	limit := len(batch)
	for len(batch) > 0 {
		n, err := s.Sink.Send(ctx, batch[:min(limit, len(batch))])
		s.advance(batch[:n])
		batch = batch[n:]
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			limit = min(2*limit, batchSize) // past the bad one
			continue
		case refuses(err):
			if limit = min(limit, len(batch)) / 2; limit == 0 {
				if refused++; refused == 1 {
					s.Log.Warn("log server refuses a line, which stays in the log's file only", "log", s.Path, "error", err)
				}
				s.advance(batch[:1])
				batch, limit = batch[1:], 1
			}
			continue
		case n > 0:
			wait = firstBackoff
		}
		if !told {
			s.Log.Warn("log server does not take lines, they wait in the log's file", "log", s.Path, "error", err)
			told = true
			select {
			case s.Stalled <- struct{}{}:
			default: // it holds something, or nobody wants to know
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, lastBackoff)
	}
	if told {
		select {
		case <-s.Stalled:
		default:
		}
		s.Log.Info("log server takes lines again", "log", s.Path)
	}
	if refused > 1 {
		s.Log.Warn("log server has refused lines", "log", s.Path, "lines", refused)
	}
	return nil
}

// refuses tells whether sending the same again would fail the same way: EMSGSIZE
// is a datagram that is too large.
func refuses(err error) bool { return errors.Is(err, errRefused) || errors.Is(err, unix.EMSGSIZE) }

// advance notes that lines need not be sent any more.
func (s *shipping) advance(lines []Line) {
	for _, l := range lines {
		if l.Time.Equal(s.at.Time) {
			s.at.At++
		} else {
			s.at = position{l.Time, 1}
		}
	}
}
