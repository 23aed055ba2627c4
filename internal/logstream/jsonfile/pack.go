package jsonfile

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ExtraID are the two bytes that mark our field in a compressed file's gzip
// header. It holds the inode number and the birth time (nanoseconds) of the file
// it was made of, 8 bytes each, little-endian: so a reader that has seen the
// plain file knows it again.
const ExtraID = "GL"

// pack compresses rotated files in the background, the oldest first, unless that
// goes on already. The lock is held.
func (w *Writer) pack() {
	if w.packing != 0 {
		return // it looks for more when it is done
	}
	src := w.nextToPack()
	if src == nil {
		return
	}
	w.packer.Go(func() {
		for src != nil {
			src = w.packOne(src)
		}
	})
}

// nextToPack opens the oldest plain file and notes that it is at work. The lock
// is held.
func (w *Writer) nextToPack() *os.File {
	for i := min(w.oldest, w.maxFile-1); i >= 1; i-- {
		if f, err := os.Open(w.rotated(i)); err == nil {
			w.packing = i
			return f
		}
	}
	w.packing = 0
	return nil
}

// packOne replaces a rotated file, which may be renamed meanwhile, by a
// compressed one and gives the next. If it fails, the plain file stays, which
// readers take too, until there is a reason to try again.
func (w *Writer) packOne(src *os.File) (next *os.File) {
	defer src.Close() // read only
	tmp := w.path + ".gz.tmp"
	err := compress(src, tmp)
	w.mu.Lock()
	defer w.mu.Unlock()
	name := w.rotated(w.packing)
	switch {
	case w.packing >= w.maxFile: // its time was over meanwhile
		err = errors.Join(err, os.Remove(tmp))
	case err == nil:
		if err = os.Rename(tmp, name+".gz"); err == nil {
			err = os.Remove(name)
		}
	}
	if err != nil {
		_ = os.Remove(tmp) // of no use any more
		w.packing = 0
		return nil
	}
	return w.nextToPack()
}

func compress(src *os.File, to string) (err error) {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	z.Extra = identity(src)
	_, err = io.Copy(z, src)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime()) // when the last entry was written
}

// identity is the gzip header's extra field for a file.
func identity(f *os.File) []byte {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return nil
	}
	b := append([]byte(ExtraID), 16, 0)
	b = binary.LittleEndian.AppendUint64(b, st.Ino)
	return binary.LittleEndian.AppendUint64(b, uint64(st.Btime.Sec)*1e9+uint64(st.Btime.Nsec))
}
