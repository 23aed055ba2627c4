package logstream

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/logstream/jsonfile"
)

// fileID tells files apart, through renaming and compression: inode numbers are
// used again, but not with the same time of birth.
type fileID struct{ ino, birth uint64 }

// logFile is one file of a log, open.
type logFile struct {
	f      *os.File
	id     fileID
	mtime  time.Time
	packed bool // gzip
}

func (l *logFile) close() { _ = l.f.Close() } // read only

func closeAll(files []*logFile) {
	for _, l := range files {
		l.close()
	}
}

// content gives a reader from the start of the file, or for plain files from
// where the descriptor stands.
func (l *logFile) content() (io.Reader, error) {
	if !l.packed {
		return l.f, nil
	}
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return gzip.NewReader(l.f)
}

// openFile opens one name; nil if there is no such file, or one that cannot be
// read as what its name says.
func openFile(name string, packed bool) (*logFile, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &logFile{f: f, packed: packed}
	if err := l.identify(); err != nil {
		l.close()
		return nil, fmt.Errorf("open log %s: %w", name, err)
	}
	return l, nil
}

func (l *logFile) identify() error {
	var st unix.Statx_t
	if err := unix.Statx(int(l.f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return err
	}
	l.id = statID(&st)
	l.mtime = time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec))
	if !l.packed {
		return nil
	}
	if z, err := gzip.NewReader(l.f); err == nil {
		if id, ok := packedID(z.Extra); ok {
			l.id = id
		}
	}
	return nil
}

func statID(st *unix.Statx_t) fileID {
	return fileID{st.Ino, uint64(st.Btime.Sec)*1e9 + uint64(st.Btime.Nsec)}
}

// packedID reads jsonfile's note of what the compressed file was made of.
func packedID(extra []byte) (fileID, bool) {
	if len(extra) != 20 || string(extra[:2]) != jsonfile.ExtraID {
		return fileID{}, false
	}
	return fileID{binary.LittleEndian.Uint64(extra[4:]), binary.LittleEndian.Uint64(extra[12:])}, true
}

// isCurrent tells whether path still names the file.
func (l *logFile) isCurrent(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	return err == nil && statID(&st) == l.id
}

// scan opens the files of a log, newest first, up to and without the file stop.
// found tells whether stop was met.
//
// Rotation renames path to path.1, path.1 to path.2 and so on, from the top, so
// looking at the names in this order misses no file, but may meet one again that
// was renamed ahead of the look. Files that were met after it for the first
// time are then newer or met again further on: either way they are dropped.
func scan(path string, stop *fileID) (files []*logFile, found bool, err error) {
	last, err := lastRotated(path)
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	// Two more names than there were: what is renamed meanwhile is met there.
	for i := 0; i <= last+2; i++ {
		l, err := look(path, i)
		if err != nil {
			return files, false, err
		}
		if l == nil {
			continue
		}
		last = max(last, i)
		if stop != nil && l.id == *stop {
			l.close()
			return files, true, nil
		}
		if at := indexOf(files, l.id); at >= 0 {
			l.close()
			closeAll(files[at+1:])
			files = files[:at+1]
			continue
		}
		files = append(files, l)
	}
	return files, false, nil
}

func indexOf(files []*logFile, id fileID) int {
	for i, l := range files {
		if l.id == id {
			return i
		}
	}
	return -1
}

// look opens the i-th name of a log, plain or compressed.
func look(path string, i int) (*logFile, error) {
	if i == 0 {
		return openFile(path, false)
	}
	name := path + "." + strconv.Itoa(i)
	l, err := openFile(name, false)
	if l != nil || err != nil {
		return l, err
	}
	return openFile(name+".gz", true)
}

// lastRotated gives the greatest number in the names of rotated files.
func lastRotated(path string) (int, error) {
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open log: %w", err)
	}
	defer dir.Close() // read only
	names, err := dir.Readdirnames(-1)
	if errors.Is(err, fs.ErrNotExist) { // it has been removed since it was opened
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("list log: %w", err)
	}
	last := 0
	for _, name := range names {
		number, ok := strings.CutPrefix(name, filepath.Base(path)+".")
		if !ok {
			continue
		}
		if i, err := strconv.Atoi(strings.TrimSuffix(number, ".gz")); err == nil {
			last = max(last, i)
		}
	}
	return last, nil
}
