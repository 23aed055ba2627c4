package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
)

// primary is the directory that is asked who is in the group.
func (g Group) primary() string {
	if g.Unified != "" {
		return g.Unified
	}
	for _, controller := range []string{"freezer", "devices", "pids", "memory"} {
		if dir, ok := g.V1[controller]; ok {
			return dir
		}
	}
	for _, dir := range g.V1 {
		return dir
	}
	return ""
}

// Pids lists the processes in the group and in groups below it. A group that
// does not exist has none.
func (g Group) Pids() ([]int, error) {
	if g.Empty() {
		return nil, nil
	}
	pids, err := allPids(g.primary())
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup: %w", err)
	}
	return pids, nil
}

// allPids lists the processes in dir and below. What is removed meanwhile has none.
func allPids(dir string) ([]int, error) {
	data, err := fd.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // those of a group of threads are in the one above
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(string(data)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	below, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range below {
		more, err := allPids(sub)
		if err != nil && !gone(err) {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

// freezeTimeout bounds how long Freeze and Thaw wait. A process in uninterruptible
// sleep, on a dead NFS server say, stops only when it wakes.
const freezeTimeout = 10 * time.Second

// Freeze stops all processes of the group and returns when they stand still. If
// that takes longer than freezeTimeout the error is errs.Unavailable; after any
// error, also if ctx ends, they go on.
func (g Group) Freeze(ctx context.Context) error { return g.setFrozen(ctx, true) }

// Thaw lets the processes of a frozen group go on, also of one that is about to be.
func (g Group) Thaw(ctx context.Context) error { return g.setFrozen(ctx, false) }

func (g Group) setFrozen(ctx context.Context, frozen bool) error {
	limited, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	err := g.orderFrozen(limited, frozen)
	if err == nil {
		return nil
	}
	late := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	if !frozen {
		if late {
			return errs.New(errs.Unavailable, "thaw cgroup: it is frozen after %s still: a group above it may be", freezeTimeout)
		}
		return fmt.Errorf("thaw cgroup: %w", err)
	}
	if late {
		err = errs.New(errs.Unavailable, "some processes did not stop within %s, which those in uninterruptible sleep do not", freezeTimeout)
	}
	if !gone(err) && !errs.Is(err, errs.Unsupported) {
		// What was ordered holds, whenever it becomes possible, until it is taken back.
		err = errors.Join(err, g.setFrozen(context.WithoutCancel(ctx), false))
	}
	return errs.New(errs.KindOf(err), "freeze cgroup: %w", err)
}

// orderFrozen tells the kernel and waits until it is so.
func (g Group) orderFrozen(ctx context.Context, frozen bool) error {
	value, word := "0", "THAWED"
	if frozen {
		value, word = "1", "FROZEN"
	}
	if g.Unified != "" {
		if err := fd.WriteFile(filepath.Join(g.Unified, "cgroup.freeze"), value); err != nil {
			return err
		}
		return g.waitEvent(ctx, "frozen", value)
	}
	if dir, ok := g.V1["freezer"]; ok {
		return freezeV1(ctx, filepath.Join(dir, "freezer.state"), word)
	}
	return errs.New(errs.Unsupported, "there is no freezer that this user may use")
}

// freezeV1 repeats the write: a task that was born during freezing stays
// behind in FREEZING until it is told again. v1 has no event for it.
func freezeV1(ctx context.Context, file, word string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err := fd.WriteFile(file, word); err != nil {
			return err
		}
		data, err := fd.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(data)) == word {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Frozen tells whether the group is frozen. A group that does not exist is not.
func (g Group) Frozen() (bool, error) {
	if g.Unified != "" {
		v, err := readEvent(g.Unified, "frozen")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return false, nil
		}
		return v == "1", err
	}
	dir, ok := g.V1["freezer"]
	if !ok {
		return false, nil
	}
	data, err := fd.ReadFile(filepath.Join(dir, "freezer.state"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return strings.TrimSpace(string(data)) == "FROZEN", err
}

// Freezing tells whether the group is told to be frozen but is not yet, as a program
// leaves it that is killed while it waits for that. A group that does not exist is not.
func (g Group) Freezing() (bool, error) {
	file := filepath.Join(g.V1["freezer"], "freezer.state")
	if g.Unified != "" {
		file = filepath.Join(g.Unified, "cgroup.freeze")
	} else if g.V1["freezer"] == "" {
		return false, nil
	}
	data, err := fd.ReadFile(file)
	if gone(err) {
		return false, nil
	}
	state := strings.TrimSpace(string(data))
	if err != nil || state != "1" && state != "FREEZING" {
		return false, err
	}
	frozen, err := g.Frozen()
	return !frozen, err
}

// whileFrozen runs f while no process of the group runs.
func (g Group) whileFrozen(f func() error) (err error) {
	frozen, err := g.Frozen()
	if err != nil {
		return err
	}
	if !frozen {
		if err := g.Freeze(context.Background()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.Thaw(context.Background())) }()
	}
	return f()
}

// signalFreeze bounds how long SignalAll waits for processes to stop.
const signalFreeze = time.Second

// SignalAll sends sig to every process of the group. SIGKILL reaches even what
// forks meanwhile.
func (g Group) SignalAll(ctx context.Context, sig unix.Signal) error {
	if sig == unix.SIGKILL && g.Unified != "" {
		err := fd.WriteFile(filepath.Join(g.Unified, "cgroup.kill"), "1")
		if err == nil || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // before Linux 5.14, or removed
			return fmt.Errorf("kill cgroup: %w", err)
		}
	}
	frozen, err := g.Frozen()
	if err != nil {
		return err
	}
	if !frozen {
		// A process that forks faster than its children are listed would escape.
		if err := g.freezeToSignal(ctx); err != nil {
			return err
		}
	}
	pids, err := g.Pids()
	for _, pid := range pids {
		if kerr := unix.Kill(pid, sig); kerr != nil && !errors.Is(kerr, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("signal process %d: %w", pid, kerr))
		}
	}
	if !frozen || sig == unix.SIGKILL && g.Unified == "" { // a v1 freezer holds back even SIGKILL
		if terr := g.Thaw(context.WithoutCancel(ctx)); terr != nil && !errors.Is(terr, fs.ErrNotExist) && !errs.Is(terr, errs.Unsupported) {
			err = errors.Join(err, terr)
		}
	}
	return err
}

// freezeToSignal freezes the group as well as can be done: one that does not stop
// in time, or has no freezer, is sent signals all the same.
func (g Group) freezeToSignal(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, signalFreeze)
	defer cancel()
	err := g.Freeze(limited)
	if errors.Is(err, fs.ErrNotExist) || errs.Is(err, errs.Unsupported) || limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// OOMKills is how many processes of the group the kernel killed for want of memory.
func (g Group) OOMKills() (uint64, error) {
	file := filepath.Join(g.V1["memory"], "memory.oom_control")
	if g.V2() {
		file = filepath.Join(g.Unified, "memory.events")
	} else if g.V1["memory"] == "" {
		return 0, nil
	}
	data, err := fd.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read OOM kills: %w", err)
	}
	value, _ := keyed(string(data), "oom_kill")
	if value == "" {
		return 0, nil // before Linux 4.13
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read OOM kills: %w", err)
	}
	return n, nil
}

// keyed finds the value in a file of "key value" lines.
func keyed(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return v, true
		}
	}
	return "", false
}
