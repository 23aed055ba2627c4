package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// OOMWatch remembers whether a process of a group was killed for want of memory.
// It is for groups that somebody else removes as soon as they are empty, with
// what they have counted: a kill is noted before the process has ended.
type OOMWatch struct {
	group  Group
	killed atomic.Bool
	source *os.File // memory.events, or for v1 an eventfd
	reader sync.WaitGroup
}

// WatchOOM begins to watch. It gives nil, whose methods work, for a group that
// stays until it is removed here, and where nobody counts memory.
func (g Group) WatchOOM() (*OOMWatch, error) {
	if g.Scope == nil {
		return nil, nil
	}
	w := &OOMWatch{group: g}
	watch := w.watchV1
	if g.V2() {
		watch = w.watchV2
	}
	if err := watch(); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("watch for want of memory: %w", err)
	}
	return w, nil
}

// watchV1 has the kernel count in an eventfd how often memory is short, and once
// more when the group is removed.
func (w *OOMWatch) watchV1() error {
	dir := w.group.V1["memory"]
	if dir == "" {
		return fs.ErrNotExist
	}
	file := filepath.Join(dir, "memory.oom_control")
	control, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer fd.Close(control)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	if err := fd.WriteFile(filepath.Join(dir, "cgroup.event_control"), fmt.Sprintf("%d %d", event, control)); err != nil {
		fd.Close(event)
		return err
	}
	w.source = os.NewFile(uintptr(event), "eventfd")
	w.reader.Go(func() {
		var count [8]byte
		for {
			if _, err := w.source.Read(count[:]); err != nil {
				return // closed
			}
			data, err := fd.ReadFile(file)
			disabled, _ := keyed(string(data), "oom_kill_disable")
			if err == nil && disabled == "0" || err != nil && binary.NativeEndian.Uint64(count[:]) > 1 {
				w.killed.Store(true)
			}
		}
	})
	return nil
}

// watchV2 reads the counter at every change.
func (w *OOMWatch) watchV2() error {
	h, err := unix.Open(filepath.Join(w.group.Unified, "memory.events"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	w.source = os.NewFile(uintptr(h), "memory.events")
	raw, err := w.source.SyscallConn()
	if err != nil {
		return errors.Join(err, w.source.Close())
	}
	w.reader.Go(func() {
		buf := make([]byte, 512)
		_ = raw.Read(func(h uintptr) bool { // until it is closed
			if n, err := unix.Pread(int(h), buf, 0); err == nil {
				count, _ := keyed(string(buf[:n]), "oom_kill")
				w.killed.Store(number([]byte(count)) > 0)
			}
			return false // the next change
		})
	})
	return nil
}

// Killed tells whether the kernel has killed a process of the group, also when the
// group is gone.
func (w *OOMWatch) Killed() bool { return w != nil && w.killed.Load() }

// Close ends the watch.
func (w *OOMWatch) Close() {
	if w != nil {
		_ = w.source.Close() // read only
		w.reader.Wait()
	}
}
