// Package atomicfile replaces files so that a reader, or a restart after a
// crash at any moment, sees either the old content or the new, never a part.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Write replaces path with data by write, sync and rename in the same directory.
func Write(path string, data []byte, perm fs.FileMode, d Durability) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-*")
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

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
