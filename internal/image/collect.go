package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// collector runs one collection at a time. Callers that come while one runs
// share the next.
type collector struct {
	run   sync.Mutex  // held by the collection that runs
	armed atomic.Bool // a later collection is arranged

	mu   sync.Mutex
	next *collection
}

type collection struct {
	done chan struct{}
	err  error
}

// collect removes all content and snapshots that nothing refers to, and waits
// until the space is free. A collection that was begun goes on if ctx ends.
func (s *Service) collect(ctx context.Context) error {
	s.gc.mu.Lock()
	c := s.gc.next
	if c == nil {
		c = &collection{done: make(chan struct{})}
		s.gc.next = c
		s.tasks.Go(func() { s.runCollection(c) })
	}
	s.gc.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) runCollection(c *collection) {
	defer close(c.done)
	s.gc.run.Lock()
	defer s.gc.run.Unlock()
	s.gc.mu.Lock()
	s.gc.next = nil // who comes from now on may need more than this one sees
	s.gc.mu.Unlock()
	ctx := context.WithoutCancel(s.ctx) // half a collection frees nothing
	if err := s.rootfs.releaseUnused(ctx); err != nil {
		c.err = fmt.Errorf("release layers: %w", err)
	}
	if _, err := s.DB.GarbageCollect(ctx); err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("collect garbage: %w", err))
	}
}

// tidy removes what operations of an earlier process left: interrupted pulls
// may be resumed for a while, all else goes.
func (s *Service) tidy() {
	if err := s.recoverLeases(s.ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn("clean up image operations of an earlier run", "err", err)
	}
	if err := s.recoverSnapshots(s.ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn("clean up snapshots of an earlier run", "err", err)
	}
	if s.killed {
		if err := errors.Join(s.deleteOrphans(), s.suspectAll(s.ctx)); err != nil && s.ctx.Err() == nil {
			s.log.Warn("look for image data that no database knows", "err", err)
		}
	}
	if err := s.collect(s.ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn("collect image garbage", "err", err)
	}
	s.collectLater()
}

// suspectAll makes the next collection compare the stores with the databases:
// a process that was killed may have left blobs and snapshots that no database
// knows. Containerd looks only where it has seen a removal, so something is
// made and removed.
func (s *Service) suspectAll(ctx context.Context) error {
	key := s.unique("probe")
	data := []byte(key)
	desc := describe("", data)
	err := content.WriteBlob(ctx, s.Content, key, bytes.NewReader(data), desc)
	if err == nil {
		err = s.Content.Delete(ctx, desc.Digest)
	}
	_, perr := s.Snapshotter.Prepare(ctx, key, "")
	if perr == nil {
		perr = s.Snapshotter.Remove(ctx, key)
	}
	return errors.Join(err, perr)
}

// collectLater arranges one collection for when what interrupted pulls keep
// has expired, if there is any.
func (s *Service) collectLater() {
	if !s.gc.armed.CompareAndSwap(false, true) {
		return
	}
	s.tasks.Go(func() {
		timer := time.NewTimer(resumeWindow + time.Minute)
		defer timer.Stop()
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		}
		s.gc.armed.Store(false)
		if err := s.collect(s.ctx); err != nil && s.ctx.Err() == nil {
			s.log.Warn("collect expired content", "err", err)
		}
	})
}

func (s *Service) recoverLeases(ctx context.Context) error {
	all, err := s.Leases.List(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, l := range all {
		if !strings.HasPrefix(l.ID, opPrefix) || strings.Contains(l.ID, "-"+s.boot+"-") {
			continue
		}
		if strings.HasPrefix(l.ID, pulling) {
			err = s.parkLease(ctx, l)
		} else {
			err = s.Leases.Delete(ctx, l)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// extractPrefix starts the keys of snapshots that are being unpacked.
const extractPrefix = "extract-"

func (s *Service) recoverSnapshots(ctx context.Context) error {
	var dead []string
	err := s.Snapshotter.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if strings.HasPrefix(i.Name, extractPrefix) && !strings.HasPrefix(i.Name, extractPrefix+s.boot+"-") {
			dead = append(dead, i.Name)
		}
		return nil
	})
	for _, key := range dead {
		err = errors.Join(err, s.Snapshotter.Remove(ctx, key))
	}
	return err
}

// dropResumable forgets what interrupted pulls have kept, for prune.
func (s *Service) dropResumable(ctx context.Context) error {
	all, err := s.Leases.List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range all {
		if strings.HasPrefix(l.ID, resumable+"-") {
			err = errors.Join(err, s.Leases.Delete(ctx, l))
		}
	}
	ingests, lerr := s.Content.ListStatuses(ctx)
	err = errors.Join(err, lerr)
	for _, i := range ingests {
		err = errors.Join(err, s.dropIngest(ctx, i.Ref))
	}
	return err
}
