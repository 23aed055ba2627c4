package oci

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// TestSendFileInterrupted lets signals come, as the Go runtime sends them to its
// threads, while nobody has accepted an earlier connection yet.
func TestSendFileInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close(sock)
	if err := unix.Bind(sock, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(sock, 0); err != nil {
		t.Fatal(err)
	}
	if err := sendFile(path, []byte("first"), sock); err != nil { // fills the queue
		t.Fatal(err)
	}
	thread, sent := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		sent <- sendFile(path, []byte("second"), sock)
	}()
	id := <-thread
	for range 20 {
		if err := unix.Tgkill(unix.Getpid(), id, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-sent:
			t.Fatalf("nobody has accepted it: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	for range 2 {
		conn, _, err := unix.Accept4(sock, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close(conn) // not before the sending is over
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
