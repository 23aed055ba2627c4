package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/containerd/containerd/v2/core/leases"
	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// rootfsStore keeps the writable layers of containers: a directory for each,
// named by its key, with "fs" and "work" for overlayfs and "base", which says
// what it stands on. They are on the path of every container start, so the
// databases have no part in them: making one is a handful of system calls.
//
// "base" is a symbolic link whose target is the text. File systems write that
// with the directory's other metadata: after a power loss the directory has it
// or is not there, without anything to wait for.
//
// What they stand on is held by one lease. A chain of layers enters it, in a
// durable transaction, before the first directory that needs it appears, and
// leaves it in a collection when the last one is gone. After a crash the
// directories tell what must stay.
type rootfsStore struct {
	root  string
	store *store
	log   *slog.Logger
	lease leases.Lease
	kick  chan struct{} // there is something to sweep
	done  chan struct{} // closed by close
	count atomic.Uint64 // makes names in trash unique

	limits limits

	leasing sync.Mutex // held while the lease changes; taken before mu

	mu      sync.Mutex // never held across a system call
	entries map[string]*writable
	bases   map[base]*holding
}

// base is what a writable layer stands on.
type base struct {
	Chain    digest.Digest `json:"chain,omitempty"`
	Manifest digest.Digest `json:"manifest,omitempty"`
}

// writable is a container's layer.
type writable struct {
	base    base
	lower   []string // directories, topmost first
	damaged error    // why the base is not known
}

// holding counts the writable layers on a base; rootfsStore.mu guards it.
type holding struct {
	users  int
	leased bool
	lower  []string // found once it is needed
}

const (
	rootfsLease = "rootfs"
	trashDir    = ".trash"
	newPrefix   = ".new-"
)

// openRootfs reads which writable layers exist and makes the lease hold what
// they stand on.
func openRootfs(ctx context.Context, root string, st *store, storageOpts []string, log *slog.Logger) (_ *rootfsStore, err error) {
	r := &rootfsStore{
		root: root, store: st, log: log, kick: make(chan struct{}, 1), done: make(chan struct{}),
		entries: map[string]*writable{}, bases: map[base]*holding{},
	}
	if err := os.MkdirAll(filepath.Join(root, trashDir), 0o700); err != nil {
		return nil, fmt.Errorf("create rootfs store: %w", err)
	}
	if r.limits, err = openLimits(root, st.Driver, storageOpts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.limits.close())
		}
	}()
	r.lease, err = st.Leases.Create(ctx, leases.WithID(rootfsLease))
	if errdefs.IsAlreadyExists(err) {
		r.lease, err = leases.Lease{ID: rootfsLease}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("create lease: %w", err)
	}
	r.removeNew()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.sweepSoon()
	return r, nil
}

func (r *rootfsStore) load(ctx context.Context) error {
	names, err := os.ReadDir(r.root)
	if err != nil {
		return fmt.Errorf("read rootfs store: %w", err)
	}
	for _, d := range names {
		if !strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			r.loadOne(d.Name())
		}
	}
	held, err := r.store.Leases.ListResources(ctx, r.lease)
	if err != nil {
		return fmt.Errorf("list leased layers: %w", err)
	}
	leased := make(map[leases.Resource]bool, len(held))
	for _, h := range held {
		leased[h] = true
	}
	for b, h := range r.bases {
		h.leased = true
		for _, want := range r.resources(b) {
			h.leased = h.leased && leased[want]
		}
		if h.leased {
			continue
		}
		if err := r.changeLease(ctx, b, r.store.Leases.AddResource); err != nil {
			return err
		}
		h.leased = true
	}
	for _, w := range r.entries {
		if w.damaged != nil {
			return nil // any of them may be what it stands on
		}
	}
	return r.dropStray(ctx, held)
}

// loadOne takes in one writable layer. One that is damaged is kept, with what
// its container wrote, and is of no use to anybody but who repairs it by hand;
// all others must not suffer from it.
func (r *rootfsStore) loadOne(key string) {
	b, err := r.readBase(key)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a directory that somebody else put here
	case err != nil:
		r.log.Warn("the root file system of a container is damaged", "container", key, "err", err)
		r.entries[key] = &writable{damaged: err}
	default:
		r.holding(b).users++
		r.entries[key] = &writable{base: b}
	}
}

// dropStray removes from the lease what no directory needs: a crash came
// between the lease and the directory, or between a removal and a collection.
func (r *rootfsStore) dropStray(ctx context.Context, held []leases.Resource) error {
	wanted := map[leases.Resource]bool{}
	for b := range r.bases {
		for _, w := range r.resources(b) {
			wanted[w] = true
		}
	}
	held = slices.DeleteFunc(held, func(h leases.Resource) bool { return wanted[h] })
	if len(held) == 0 {
		return nil // without a durable write, which may wait for a busy disk
	}
	return r.store.update(ctx, func(ctx context.Context) error {
		for _, h := range held {
			if err := r.store.Leases.DeleteResource(ctx, r.lease, h); err != nil {
				return fmt.Errorf("release layers: %w", err)
			}
		}
		return nil
	})
}

func (r *rootfsStore) readBase(key string) (base, error) {
	var b base
	at := filepath.Join(r.root, key, "base")
	text, err := os.Readlink(at)
	if errors.Is(err, syscall.EINVAL) { // a file, as it once was
		var data []byte
		data, err = os.ReadFile(at)
		text = string(data)
	}
	if err != nil {
		return b, fmt.Errorf("read base of rootfs %s: %w", key, err)
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("decode base of rootfs %s: %w", key, err)
	}
	for _, d := range []digest.Digest{b.Chain, b.Manifest} {
		if err := d.Validate(); d != "" && err != nil {
			return b, fmt.Errorf("decode base of rootfs %s: %w", key, err)
		}
	}
	return b, nil
}

func (r *rootfsStore) resources(b base) []leases.Resource {
	var all []leases.Resource
	if b.Chain != "" {
		all = append(all, leases.Resource{ID: b.Chain.String(), Type: "snapshots/" + r.store.Driver})
	}
	if b.Manifest != "" {
		all = append(all, leases.Resource{ID: b.Manifest.String(), Type: "content"})
	}
	return all
}

func (r *rootfsStore) changeLease(ctx context.Context, b base, change func(context.Context, leases.Lease, leases.Resource) error) error {
	return r.store.update(ctx, func(ctx context.Context) error {
		for _, res := range r.resources(b) {
			if err := change(ctx, r.lease, res); err != nil {
				return fmt.Errorf("lease layers: %w", err)
			}
		}
		return nil
	})
}

// holding finds or makes the entry for a base; r.mu must be held, or nobody
// else know r yet.
func (r *rootfsStore) holding(b base) *holding {
	h := r.bases[b]
	if h == nil {
		h = &holding{}
		r.bases[b] = h
	}
	return h
}

// acquire leases a base for one more writable layer and gives its layers'
// directories.
func (r *rootfsStore) acquire(ctx context.Context, b base) ([]string, error) {
	r.mu.Lock()
	h := r.holding(b)
	h.users++
	r.mu.Unlock()
	lower, err := r.lower(ctx, b, h)
	if err != nil {
		r.release(b)
	}
	return lower, err
}

// lower leases a base that has a user, unless that is done, and finds its
// layers' directories.
func (r *rootfsStore) lower(ctx context.Context, b base, h *holding) ([]string, error) {
	if lower, ready := r.ready(b, h); ready {
		return lower, nil
	}
	r.leasing.Lock()
	defer r.leasing.Unlock()
	if lower, ready := r.ready(b, h); ready {
		return lower, nil
	}
	if err := r.changeLease(ctx, b, r.store.Leases.AddResource); err != nil {
		return nil, err
	}
	var lower []string
	if b.Chain != "" {
		// Only now, under the lease, can the layers no longer go away.
		var err error
		if lower, err = r.store.layerDirs(ctx, b.Chain); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h.leased, h.lower = true, lower
	return lower, nil
}

func (r *rootfsStore) ready(b base, h *holding) (lower []string, ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return h.lower, h.leased && (h.lower != nil || b.Chain == "")
}

func (r *rootfsStore) release(b base) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.bases[b]; h != nil {
		h.users--
	}
}

// releaseUnused takes bases without writable layers out of the lease. It runs
// in collections only, so that the next container of the same image need not
// lease them again.
func (r *rootfsStore) releaseUnused(ctx context.Context) error {
	r.leasing.Lock()
	defer r.leasing.Unlock()
	drop := map[leases.Resource]bool{}
	keep := map[leases.Resource]bool{}
	r.mu.Lock()
	for b, h := range r.bases {
		into := keep
		if h.users == 0 {
			// Whoever wants the base from now on waits for r.leasing.
			into = drop
			delete(r.bases, b)
		}
		for _, res := range r.resources(b) {
			into[res] = true
		}
	}
	r.mu.Unlock()
	for res := range keep {
		delete(drop, res)
	}
	if len(drop) == 0 {
		return nil
	}
	return r.store.update(ctx, func(ctx context.Context) error {
		for res := range drop {
			if err := r.store.Leases.DeleteResource(ctx, r.lease, res); err != nil {
				return fmt.Errorf("release layers: %w", err)
			}
		}
		return nil
	})
}

// validKey keeps keys single, visible file names.
func validKey(key string) error {
	if key == "" || strings.HasPrefix(key, ".") || strings.ContainsAny(key, "/\x00") || len(key) > 200 {
		return errs.New(errs.InvalidArgument, "invalid rootfs key %q", key)
	}
	return nil
}

// prepare makes the directory of a writable layer appear in one step. size is what
// it may take, 0 for all there is.
func (r *rootfsStore) prepare(key string, b base, lower []string, size uint64) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	tmp := filepath.Join(r.root, newPrefix+key)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("create rootfs %s: %w", key, err)
	}
	err = r.fill(tmp, string(data), lower)
	if err == nil && size > 0 {
		err = r.limits.set(tmp, size)
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(r.root, key))
	}
	if err != nil {
		if rerr := r.limits.remove(tmp, true); rerr != nil {
			err = errors.Join(err, rerr)
		}
		if errors.Is(err, fs.ErrExist) {
			return errs.New(errs.Conflict, "rootfs %s exists", key)
		}
		return fmt.Errorf("create rootfs %s: %w", key, err)
	}
	return nil
}

func (r *rootfsStore) fill(dir, base string, lower []string) error {
	upper := filepath.Join(dir, "fs")
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(upper, 0o755); err != nil { // whatever the umask says: it is the container's /
		return err
	}
	if r.store.Driver == driverOverlay {
		if err := os.Mkdir(filepath.Join(dir, "work"), 0o711); err != nil {
			return err
		}
	} else if len(lower) > 0 {
		if err := continuity.CopyDir(upper, lower[0]); err != nil {
			return err
		}
	}
	return os.Symlink(base, filepath.Join(dir, "base"))
}

// mounts gives what makes the root file system of a writable layer.
func (r *rootfsStore) mounts(key string, lower []string) []engine.RootfsMount {
	dir := filepath.Join(r.root, key)
	upper := filepath.Join(dir, "fs")
	if len(lower) == 0 || r.store.Driver != driverOverlay {
		return []engine.RootfsMount{{Type: "bind", Source: upper, Options: []string{"rw", "rbind"}}}
	}
	return []engine.RootfsMount{{Type: "overlay", Source: "overlay", Options: []string{
		// Without redirects the upper directory alone tells what has changed.
		"index=off", "redirect_dir=off", "workdir=" + filepath.Join(dir, "work"), "upperdir=" + upper,
		"lowerdir=" + strings.Join(lower, ":"),
	}}}
}

// discard moves a writable layer out of sight; sweep frees its space.
func (r *rootfsStore) discard(key string) error {
	to := filepath.Join(r.root, trashDir, fmt.Sprintf("%d-%d", os.Getpid(), r.count.Add(1)))
	err := os.Rename(filepath.Join(r.root, key), to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove rootfs %s: %w", key, err)
	}
	r.mu.Lock()
	if w := r.entries[key]; w != nil {
		delete(r.entries, key)
		if w.damaged == nil {
			r.bases[w.base].users--
		}
	}
	r.mu.Unlock()
	r.sweepSoon()
	return nil
}

func (r *rootfsStore) sweepSoon() {
	select {
	case r.kick <- struct{}{}:
	default: // it will look again anyway
	}
}

// removeNew clears half-made writable layers of a process that died.
func (r *rootfsStore) removeNew() {
	names, err := os.ReadDir(r.root)
	if err != nil {
		return
	}
	for _, d := range names {
		if strings.HasPrefix(d.Name(), newPrefix) {
			_ = r.limits.remove(filepath.Join(r.root, d.Name()), true) // only garbage; tried again at the next start
		}
	}
}

// sweep removes what discard moved away, and half-made directories of earlier
// processes, until close.
func (r *rootfsStore) sweep() {
	for {
		select {
		case <-r.done:
			return
		case <-r.kick:
		}
		trash := filepath.Join(r.root, trashDir)
		names, err := os.ReadDir(trash)
		if err != nil {
			continue
		}
		for _, d := range names {
			select {
			case <-r.done:
				return
			default:
			}
			if err := r.limits.remove(filepath.Join(trash, d.Name()), false); err != nil { // tried again at the next start
				r.log.Warn("remove root file system", "err", err)
			}
		}
	}
}

func (r *rootfsStore) close() { close(r.done) }
