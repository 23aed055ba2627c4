package session

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// CheckArchiveOutput refuses a place for an archive that cannot work, before
// the daemon does any work. name is --output, "" for stdout.
func (s *Session) CheckArchiveOutput(name, what string) error {
	if name == "" {
		if s.OutIsTerminal() {
			return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
		}
		return nil
	}
	if dir := filepath.Dir(filepath.Clean(name)); dir != "" && dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: invalid output path: stat %s: no such file or directory", what, dir)
		}
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s: cannot write to a directory", what)
	}
	return nil
}

// WriteArchive copies an archive to --output, or to stdout if name is "". A
// file appears under its name only when it is complete.
func (s *Session) WriteArchive(name string, r io.Reader) error {
	if name == "" {
		_, err := io.Copy(s.Out, r)
		return err
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return copyInto(name, r) // a device or a pipe cannot be replaced
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-"+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(0o600)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to report
	}
	return err
}

func copyInto(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
