package fd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

// listen makes a listening socket as a parent would hand it over.
func listen(t *testing.T, name string) *os.File {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(unix.Bind(s, &unix.SockaddrUnix{Name: name}), unix.Listen(s, 4))
	}
	if err != nil {
		t.Fatal(err)
	}
	l, path, err := Listening(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if path != name {
		t.Errorf("the socket is %q, listening at %q", path, name)
	}
	return l
}

func TestSockets(t *testing.T) {
	testenv.CheckLeaks(t, testenv.FDs)
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@gantry-test-" + filepath.Base(t.TempDir()) + t.Name()} {
		l := listen(t, name)
		accepted := make(chan *os.File, 1)
		go func() {
			c, err := Accept(l) // before there is a client
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		ours, err := Dial(name)
		if err != nil {
			t.Fatal(err)
		}
		theirs := <-accepted
		if _, err := ours.WriteString("hello"); err != nil {
			t.Error(err)
		}
		p := make([]byte, 16)
		if n, err := theirs.Read(p); err != nil || string(p[:n]) != "hello" {
			t.Errorf("got %q, %v", p[:n], err)
		}
		if err := theirs.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Error(err)
		}
		if _, err := theirs.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		if err := errors.Join(theirs.SetReadDeadline(time.Time{}), ours.Close()); err != nil {
			t.Error(err)
		}
		if _, err := theirs.Read(p); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		if err := theirs.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAcceptEnds(t *testing.T) {
	l := listen(t, filepath.Join(t.TempDir(), "s"))
	ended := make(chan error, 1)
	go func() { _, err := Accept(l); ended <- err }()
	time.Sleep(10 * time.Millisecond) // most likely it waits by now; if not, it fails all the same
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Accept still waits")
	}
}

func TestDialNobody(t *testing.T) {
	testenv.CheckLeaks(t, testenv.FDs)
	if _, err := Dial(filepath.Join(t.TempDir(), "nobody")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	h, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // read only
	if _, _, err := Listening(int(h.Fd())); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("a file that listens: %v", err)
	}
}
