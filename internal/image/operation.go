package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-run/gantry/internal/cleanup"
)

// The kinds of operations are the prefixes of their leases' names.
const (
	pulling   = "op-pull" // can be resumed
	loading   = "op-load"
	opPrefix  = "op-"
	resumable = "resume"
)

// resumeWindow is how long an interrupted pull keeps what it has, as long as
// containerd keeps unleased ingests.
const resumeWindow = 24 * time.Hour

// operation is a lease on all that a pull or load makes until records hold it.
type operation struct {
	s     *Service
	lease leases.Lease
	ended bool
}

func (s *Service) begin(ctx context.Context, kind string) (*operation, error) {
	l, err := s.Leases.Create(ctx, leases.WithID(s.unique(kind)))
	if err != nil {
		return nil, fmt.Errorf("create lease: %w", err)
	}
	return &operation{s: s, lease: l}, nil
}

// leased gives the context under which new content belongs to the operation.
func (o *operation) leased(ctx context.Context) context.Context {
	return leases.WithLease(ctx, o.lease.ID)
}

// hold leases a blob if it exists.
func (o *operation) hold(ctx context.Context, d digest.Digest) (exists bool, err error) {
	if _, err := o.s.Content.Info(ctx, d); errdefs.IsNotFound(err) {
		return false, nil // without a transaction, which is a durable write
	}
	err = o.s.update(ctx, func(ctx context.Context) error {
		switch _, err := o.s.Content.Info(ctx, d); {
		case errdefs.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		exists = true
		return o.s.Leases.AddResource(ctx, o.lease, leases.Resource{ID: d.String(), Type: "content"})
	})
	return exists, err
}

// finish ends an operation whose result is recorded.
func (o *operation) finish(ctx context.Context) error {
	if o.ended {
		return nil
	}
	o.ended = true
	if err := o.s.Leases.Delete(ctx, o.lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete lease: %w", err)
	}
	return nil
}

// abandon ends an operation and frees what it made. It works after the caller
// is gone.
func (o *operation) abandon() {
	if o.ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.s.ctx), cleanup.Timeout)
	defer cancel()
	if err := o.finish(ctx); err != nil {
		o.s.log.Warn("abandon image operation", "err", err)
	}
	if err := o.s.collect(ctx); err != nil {
		o.s.log.Warn("free space of an abandoned image operation", "err", err)
	}
}

// park ends an operation but keeps its content for the resume window.
func (o *operation) park() {
	if o.ended {
		return
	}
	o.ended = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.s.ctx), cleanup.Timeout)
	defer cancel()
	if err := o.s.parkLease(ctx, o.lease); err != nil {
		o.s.log.Warn("keep content of an interrupted pull", "err", err)
	}
	o.s.collectLater()
}

// parkLease replaces a lease by one that expires. Only finished content and
// snapshots are taken along.
func (s *Service) parkLease(ctx context.Context, l leases.Lease) error {
	id := s.unique(resumable)
	return s.update(ctx, func(ctx context.Context) error {
		held, err := s.Leases.ListResources(ctx, l)
		if err != nil {
			return err
		}
		next, err := s.Leases.Create(ctx, leases.WithID(id), leases.WithExpiration(resumeWindow))
		if err != nil {
			return err
		}
		for _, r := range held {
			if strings.HasPrefix(r.ID, extractPrefix) || r.Type == "ingests" {
				continue
			}
			if err := s.Leases.AddResource(ctx, next, r); err != nil {
				return err
			}
		}
		return s.Leases.Delete(ctx, l)
	})
}
