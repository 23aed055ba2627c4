// Package atomicfile replaces files so that a reader, or a restart after a
// crash at any moment, sees either the old content or the new, never a part.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Durability says what must survive.
type Durability bool

const (
	// Durable survives a power loss: file and directory are synced.
	Durable Durability = true
	// Volatile survives a killed process, not a power loss. For records that
	// do not outlive a boot anyway.
	Volatile Durability = false
)

// tempPrefix begins the names of files that have not taken their place yet.
const tempPrefix = ".tmp-"

// Write replaces path with data by write, sync and rename in the same directory.
func Write(path string, data []byte, perm fs.FileMode, d Durability) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("replace %s: %w", path, err)
			_ = os.Remove(f.Name()) // the write error is the one to report
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil && d == Durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if d == Durable {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// Sweep removes from dir what processes left that were killed within a Write. It
// is for the only writer of the directory, before it begins to write. What cannot
// be removed, on a read-only disk say, stays: it does no harm.
func Sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// page is the least that all kernels write at once: between pages of one write(2)
// a process can be killed.
const page = 4096

// Overwrite replaces short text in place, which costs a tenth of Write: for
// volatile files that are written all the time. Readers find spaces behind text
// that is shorter than what was there; one that is longer than a page, or follows
// such a one, goes through Write.
func Overwrite(path string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, perm)
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	old, err := f.Stat()
	if err == nil && max(int64(len(data)), old.Size()) > page {
		if err = f.Close(); err != nil {
			return fmt.Errorf("replace %s: %w", path, err)
		}
		return Write(path, data, perm, Volatile)
	}
	if err == nil {
		if more := int(old.Size()) - len(data); more > 0 {
			data = append(data[:len(data):len(data)], bytes.Repeat([]byte{' '}, more)...)
		}
		_, err = f.Write(data)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
