package supervisor

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// spool keeps output of a container between the pipe and the log, in a memory
// file that the daemon parks like the pipe: so a supervisor may be killed at any
// moment, and its successor logs what it had taken, once.
//
// The kernel itself moves the bytes from the pipe to the end of the file and
// keeps count: the file's size is the end of what has been taken, the file's
// offset, which all copies of the descriptor share, is the end of what has been
// logged. The head of the file tells which entries are being written.
type spool struct {
	f          *os.File
	begin, end int64 // offset and size
	punched    int64 // before it the file has no memory any more
}

// spoolHead is the size of the head: a page, so that the rest can be punched out.
// It holds the offset of the data that is being logged and the entries' time.
const spoolHead = 4096

// spoolSlack is how many logged bytes keep their memory.
const spoolSlack = 64 << 10

func newSpool() (*spool, error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if _, err := unix.Seek(fd, spoolHead, unix.SEEK_SET); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &spool{f: os.NewFile(uintptr(fd), "output"), begin: spoolHead, end: spoolHead, punched: spoolHead}, nil
}

// adoptSpool takes over the spool of a supervisor that is gone; nil if f is none.
func adoptSpool(f *os.File) *spool {
	begin, err := f.Seek(0, unix.SEEK_CUR)
	info, statErr := f.Stat()
	if err != nil || statErr != nil {
		_ = f.Close() // of no use
		return nil
	}
	return &spool{f: f, begin: begin, end: max(begin, info.Size()), punched: spoolHead}
}

// take moves bytes from a pipe into the spool and gives a copy of them; 0 is the
// end of the stream.
func (s *spool) take(pipe int, p []byte) (int, error) {
	at := s.end
	for {
		n, err := unix.Splice(pipe, nil, int(s.f.Fd()), &at, len(p), unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return 0, err
		}
		got, err := s.f.ReadAt(p[:n], s.end)
		s.end += n
		return got, err
	}
}

// unlogged gives what has been taken and not logged.
func (s *spool) unlogged() ([]byte, error) {
	p := make([]byte, s.end-s.begin)
	_, err := s.f.ReadAt(p, s.begin)
	return p, err
}

// logging notes that what is unlogged becomes entries of that time.
func (s *spool) logging(t time.Time) error {
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], uint64(s.begin))
	binary.LittleEndian.PutUint64(head[8:], uint64(t.UnixNano()))
	_, err := s.f.WriteAt(head[:], 0)
	return err
}

// interrupted tells the time of the entries that a killed supervisor was writing
// of what is unlogged, if it was.
func (s *spool) interrupted() (time.Time, bool) {
	var head [16]byte
	if _, err := s.f.ReadAt(head[:], 0); err != nil || int64(binary.LittleEndian.Uint64(head[:])) != s.begin {
		return time.Time{}, false
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(head[8:]))), true
}

// logged notes that all but the last rest bytes are in the log.
func (s *spool) logged(rest int) error {
	begin, err := s.f.Seek(s.end-int64(rest), unix.SEEK_SET)
	if err != nil {
		return err
	}
	s.begin = begin
	if page := begin &^ (spoolHead - 1); page-s.punched >= spoolSlack || rest == 0 && page > s.punched {
		err = unix.Fallocate(int(s.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.punched, page-s.punched)
		s.punched = page
	}
	return err
}

// file gives the descriptor that the daemon parks.
func (s *spool) file() *os.File {
	if s == nil {
		return nil
	}
	return s.f
}

func (s *spool) close() {
	if s != nil {
		_ = s.f.Close() // memory
	}
}
