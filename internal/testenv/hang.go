package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// HangingDir mounts a directory in which every lookup of a name hangs until the
// test ends: who looks is in a sleep that nothing else ends, and in which nobody can
// be frozen. The channel is closed when somebody does so. The directory itself can
// be looked at, and bound. Who waits for the end of such processes registers that
// before, as clean-ups run the other way round.
func HangingDir(t TB, dir string) <-chan struct{} {
	t.Helper()
	Need(t, Root)
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", dev.Fd())
	if err := syscall.Mount("hang", dir, "fuse", 0, options); err != nil {
		_ = dev.Close()
		t.Fatalf("testenv: mount FUSE: %v", err)
	}
	served, hangs := make(chan error, 1), make(chan struct{})
	go func() { served <- serveHanging(dev, sync.OnceFunc(func() { close(hangs) })) }()
	t.Cleanup(func() {
		const abort = 1 // MNT_FORCE: wakes who waits, and the server
		err := errors.Join(syscall.Unmount(dir, abort|syscall.MNT_DETACH), <-served, dev.Close())
		if err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	return hangs
}

// The numbers of linux/fuse.h.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseInit, fuseInterrupt, fuseBatchForget = 1, 2, 3, 26, 36, 42

	fuseInHeader, fuseOutHeader = 40, 16
)

// serveHanging answers what a mount needs and lets all lookups wait, of which it
// calls hangs. It ends when the connection is aborted.
func serveHanging(dev *os.File, hangs func()) error {
	// Not the file's own methods: its descriptor may not be one for the poller.
	h := int(dev.Fd())
	buf := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(h, buf)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOENT):
			continue
		case errors.Is(err, syscall.ENODEV):
			return nil
		case err != nil:
			return fmt.Errorf("read from FUSE: %w", err)
		case n < fuseInHeader:
			return fmt.Errorf("read from FUSE: %d bytes", n)
		}
		answer := make([]byte, fuseOutHeader, fuseOutHeader+104)
		switch binary.NativeEndian.Uint32(buf[4:]) {
		case fuseLookup:
			hangs()
			continue
		case fuseForget, fuseBatchForget, fuseInterrupt: // nobody waits for an answer
			continue
		case fuseInit: // version 7.31; a greatest write of 4096 bytes
			words := [16]uint32{0: 7, 1: 31, 5: 4096}
			for _, w := range words {
				answer = binary.NativeEndian.AppendUint32(answer, w)
			}
		case fuseGetattr: // struct fuse_attr_out: valid for an hour, a directory with inode 1
			words := [26]uint32{0: 3600, 4: 1, 19: syscall.S_IFDIR | 0o755, 20: 2, 24: 4096}
			for _, w := range words {
				answer = binary.NativeEndian.AppendUint32(answer, w)
			}
		default:
			failed := -int32(syscall.ENOSYS)
			binary.NativeEndian.PutUint32(answer[4:], uint32(failed))
		}
		binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:], buf[8:16]) // the request's number
		if _, err := syscall.Write(h, answer); err != nil && !errors.Is(err, syscall.ENODEV) && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("answer FUSE: %w", err)
		}
	}
}
