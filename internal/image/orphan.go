package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
)

// openMark is a file that exists while the store is open.
const openMark = "open"

// orphanDir holds, per store, what a killed process left, until it is deleted
// in the background.
const orphanDir = "orphans"

// markOpen makes the mark and tells whether it was there.
func markOpen(root string) (there bool, err error) {
	f, err := os.OpenFile(filepath.Join(root, openMark), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("mark image store as open: %w", err)
	}
	return false, f.Close()
}

// removeOrphans moves away directories that a killed process made and no
// database knows: a snapshot's would be in the way of the next one with its
// number, and an unfinished blob that lacks a part is never looked at again.
func (s *store) removeOrphans() error {
	if err := os.MkdirAll(filepath.Join(s.root, orphanDir), 0o700); err != nil {
		return fmt.Errorf("clean up image store: %w", err)
	}
	if err := s.orphanSnapshots(); err != nil {
		return fmt.Errorf("clean up snapshots: %w", err)
	}
	if err := s.orphanIngests(); err != nil {
		return fmt.Errorf("clean up unfinished blobs: %w", err)
	}
	return nil
}

func (s *store) orphanSnapshots() (err error) {
	root := filepath.Join(s.root, s.Driver)
	db := filepath.Join(root, "metadata.db")
	if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ms, err := storage.NewMetaStore(db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ms.Close()) }()
	var known map[string]string
	err = ms.WithTransaction(context.Background(), false, func(ctx context.Context) error {
		known, err = storage.IDMap(ctx)
		if errdefs.IsNotFound(err) {
			return nil // nothing was ever made
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.moveAway(filepath.Join(root, "snapshots"), func(name string) bool {
		_, ok := known[name]
		return !ok
	})
}

func (s *store) orphanIngests() error {
	dir := filepath.Join(s.root, "content", "ingest")
	return s.moveAway(dir, func(name string) bool {
		for _, part := range []string{"ref", "startedat", "updatedat", "data"} {
			fi, err := os.Stat(filepath.Join(dir, name, part))
			if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 && part != "data" {
				return true
			}
		}
		return false
	})
}

// moveAway renames the entries of dir that are orphans.
func (s *store) moveAway(dir string, orphan func(name string) bool) error {
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range names {
		if !orphan(d.Name()) {
			continue
		}
		to, err := os.MkdirTemp(filepath.Join(s.root, orphanDir), "")
		if err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, d.Name()), filepath.Join(to, d.Name())); err != nil {
			return err
		}
	}
	return nil
}

// deleteOrphans frees what removeOrphans moved away.
func (s *store) deleteOrphans() error { return os.RemoveAll(filepath.Join(s.root, orphanDir)) }
