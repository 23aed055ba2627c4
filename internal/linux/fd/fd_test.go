package fd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestFrames(t *testing.T) {
	testenv.CheckLeaks(t, testenv.FDs)
	a, b, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { Close(a); Close(b) }()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // read only
	big := bytes.Repeat([]byte("x"), 3<<20)
	done := make(chan error, 1)
	go func() {
		err := errors.Join(WriteFrame(a, Frame{Kind: 'A'}), WriteFrame(a, Frame{Kind: 'B', Body: big, FDs: []int{int(null.Fd())}}), Exchange(a, 'C', false))
		Close(a)
		done <- err
	}()
	for _, want := range []Frame{{Kind: 'A', Body: []byte{}}, {Kind: 'B', Body: big, FDs: []int{0}}, {Kind: 'C', Body: []byte{}}} {
		f, err := ReadFrame(b)
		if err != nil || f.Kind != want.Kind || !bytes.Equal(f.Body, want.Body) || len(f.FDs) != len(want.FDs) {
			t.Fatalf("got %c with %d bytes, %v, %v", f.Kind, len(f.Body), f.FDs, err)
		}
		for _, h := range f.FDs {
			if flags, err := unix.FcntlInt(uintptr(h), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("not close-on-exec: %v, %v", flags, err)
			}
			Close(h)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	a = -1
	if _, err := ReadFrame(b); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v", err)
	}
	if err := WriteFrame(b, Frame{Kind: 'D'}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("without a reader: got %v", err)
	}
}

func TestFrameDamage(t *testing.T) {
	testenv.CheckLeaks(t, testenv.FDs)
	for name, raw := range map[string]string{
		"too long": "X\xff\xff\xff\xff", "cut head": "X\x01\x00", "cut body": "X\x05\x00\x00\x00ab",
	} {
		a, b, err := SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendmsg(a, []byte(raw), unix.UnixRights(0, 1), nil, 0); err != nil {
			t.Fatal(err)
		}
		Close(a)
		if f, err := ReadFrame(b); err == nil || errors.Is(err, io.EOF) || len(f.FDs) > 0 {
			t.Errorf("%s: got %v, %v", name, f, err)
		}
		Close(b)
	}
}

// TestSealedSelf checks both ways of sealing in processes of their own, since
// one process seals once.
func TestSealedSelf(t *testing.T) {
	if mode := os.Getenv("GANTRY_TEST_SEAL"); mode != "" {
		f, err := SealedSelf(mode == "mount")
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		for _, flags := range []int{os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC} {
			w, err := os.OpenFile(name, flags, 0)
			if err != nil {
				continue
			}
			if _, err = w.Write([]byte("x")); err == nil {
				t.Errorf("flags %#x: written", flags)
			}
			_ = w.Close()
		}
		if err := exec.Command(name, "-test.run=^$").Run(); err != nil {
			t.Errorf("it cannot be executed: %v", err)
		}
		again, err := SealedSelf(false)
		if err != nil || again != f {
			t.Errorf("a second copy: %v, %v", again, err)
		}
		return
	}
	testenv.Need(t, testenv.Root)
	for _, mode := range []string{"mount", "memory"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSealedSelf$", "-test.v")
		cmd.Env = append(os.Environ(), "GANTRY_TEST_SEAL="+mode)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
}
