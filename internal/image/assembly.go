package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/errs"
)

// assembly brings in the layers of one image: all at a time are fetched and
// unpacked, and the snapshots are committed from the bottom up. The copying
// snapshotter needs the layer below before it can unpack.
type assembly struct {
	s      *Service
	op     *operation
	layers []layer
	// fetch makes the blob of layer i present; nil: all are.
	fetch func(ctx context.Context, i int) error
	// present, extracting and done report layers; nil: nobody listens.
	present    func(i int)
	extracting func(i int, current int64)
	done       func(i int)
}

func (a *assembly) run(ctx context.Context) error {
	ready := make([]chan struct{}, len(a.layers))
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range a.layers {
		g.Go(func() error {
			if err := a.layer(ctx, i, ready); err != nil {
				return err
			}
			close(ready[i])
			return nil
		})
	}
	return g.Wait()
}

// layer brings one layer in.
func (a *assembly) layer(ctx context.Context, i int, ready []chan struct{}) error {
	exists, err := a.s.chainExists(ctx, a.op, a.layers[i].chainID)
	if err != nil {
		return err
	}
	if exists {
		held, err := a.op.hold(ctx, a.layers[i].blob.Digest)
		if err != nil {
			return err
		}
		if held {
			call(a.present, i)
			return nil
		}
	}
	if a.fetch != nil {
		if err := a.fetch(ctx, i); err != nil {
			return err
		}
	}
	if !exists {
		if err := a.unpack(ctx, i, ready); err != nil {
			return err
		}
	}
	call(a.done, i)
	return nil
}

func call(fn func(int), i int) {
	if fn != nil {
		fn(i)
	}
}

// unpack makes the snapshot of layer i, unless another operation does so first.
func (a *assembly) unpack(ctx context.Context, i int, ready []chan struct{}) error {
	l := a.layers[i]
	unlock, err := a.s.chains.lock(ctx, l.chainID.String())
	if err != nil {
		return err
	}
	defer unlock()
	if exists, err := a.s.chainExists(ctx, a.op, l.chainID); err != nil || exists {
		return err
	}
	parallel := a.s.store.Driver == driverOverlay
	if !parallel {
		if err := await(ctx, i, ready); err != nil {
			return err
		}
	}
	st, err := a.stage(ctx, i, parallel)
	if err != nil {
		return fmt.Errorf("failed to register layer: %w", err)
	}
	var undo cleanup.Stack
	undo.Push(st.discard)
	defer func() {
		if err := undo.Run(); err != nil {
			a.s.log.Warn("remove unfinished layer", "layer", l.chainID, "err", err)
		}
	}()
	if err := await(ctx, i, ready); err != nil {
		return err
	}
	if err := a.commit(ctx, i, st, parallel); err != nil {
		return fmt.Errorf("failed to register layer: %w", err)
	}
	undo.Release()
	return nil
}

// await waits until the layer below i is committed.
func await(ctx context.Context, i int, ready []chan struct{}) error {
	if i == 0 {
		return nil
	}
	select {
	case <-ready[i-1]:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// staged is an unpacked layer that is not committed.
type staged struct {
	applied
	s   *Service
	key string
	dir string
}

// discard frees the space at once, before the databases are touched: on a full
// disk they may need it.
func (st *staged) discard(ctx context.Context) error {
	ctx = scoped(ctx)
	err := emptyDir(st.dir)
	if rerr := st.s.Snapshotter.Remove(ctx, st.key); !errdefs.IsNotFound(rerr) {
		err = errors.Join(err, rerr)
	}
	return err
}

func emptyDir(dir string) error {
	if dir == "" {
		return nil
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, d.Name())))
	}
	return err
}

// stage unpacks layer i into a snapshot of its own and verifies it.
func (a *assembly) stage(ctx context.Context, i int, parallel bool) (_ *staged, err error) {
	l := a.layers[i]
	if err := a.s.unpacks.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer a.s.unpacks.Release(1)
	parent := ""
	if !parallel && i > 0 {
		parent = a.layers[i-1].chainID.String()
	}
	st := &staged{s: a.s, key: a.s.unique("extract") + "-" + l.chainID.Encoded()}
	mounts, err := a.s.Snapshotter.Prepare(a.op.leased(ctx), st.key, parent)
	if err != nil {
		return nil, err
	}
	var undo cleanup.Stack
	undo.Push(st.discard)
	defer func() { err = errors.Join(err, undo.Run()) }()
	if st.dir, err = singleDir(mounts); err != nil {
		return nil, err
	}
	ra, err := a.s.Content.ReaderAt(ctx, l.blob)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	r := &countingReader{r: content.NewReader(ra), report: func(n int64) {
		if a.extracting != nil {
			a.extracting(i, n)
		}
	}}
	if st.applied, err = applyLayer(ctx, st.dir, r, parallel && i > 0); err != nil {
		return nil, err
	}
	if st.diffID != l.diffID {
		return nil, errs.New(errs.InvalidArgument, "layer %s has the uncompressed digest %s, the image config wants %s",
			l.blob.Digest, st.diffID, l.diffID)
	}
	undo.Release()
	return st, nil
}

// commit makes a staged layer the snapshot of its chain.
func (a *assembly) commit(ctx context.Context, i int, st *staged, parallel bool) error {
	opts := []snapshots.Opt{snapshots.WithLabels(map[string]string{labelSize: strconv.FormatInt(st.size, 10)})}
	if parallel && i > 0 {
		parent := a.layers[i-1].chainID
		opts = append(opts, snapshots.WithParent(parent.String()))
		below, err := a.s.layerDirs(ctx, parent)
		if err != nil {
			return err
		}
		if err := inherit(ctx, st.dir, st.implied, below); err != nil {
			return err
		}
	}
	err := a.s.Snapshotter.Commit(a.op.leased(ctx), a.layers[i].chainID.String(), st.key, opts...)
	if errdefs.IsAlreadyExists(err) {
		// Somebody else's store user was faster; theirs is as good.
		return st.discard(ctx)
	}
	return err
}
