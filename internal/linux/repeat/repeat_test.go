package repeat

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines}})
}

// peer is the other side of a Process.
type peer struct {
	t    *testing.T
	sock int
}

// newProcess gives a Process whose orders serve answers, once, and then hangs up.
func newProcess(t *testing.T, serve func(p peer, out *os.File)) *Process {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(pair[1]) //nolint:errcheck // a socket
		p := peer{t, pair[1]}
		if out := p.order(); out != nil {
			serve(p, out)
		}
	}()
	p, err := New(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close() // it may be closed
		<-done
	})
	return p
}

// order waits for a Go and gives the pipe, nil if the Process is closed.
func (p peer) order() *os.File {
	var data [2]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(p.sock, data[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n != 1 || data[0] != Go || len(msgs) != 1 {
		p.t.Errorf("order %q, %d messages, %v", data[:n], len(msgs), err)
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		p.t.Errorf("%v %v", fds, err)
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "|1")
}

func (p peer) say(msg ...byte) {
	if _, err := unix.Write(p.sock, msg); err != nil {
		p.t.Error(err)
	}
}

func (p peer) ended(status uint32) {
	p.say(binary.NativeEndian.AppendUint32([]byte{Ended}, status)...)
}

func (p peer) print(out *os.File, text string) {
	if _, err := out.WriteString(text); err != nil {
		p.t.Error(err)
	}
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(p peer, out *os.File)
		want  Result
	}{
		"silence":  {func(p peer, out *os.File) { _ = out.Close(); p.ended(0) }, Result{}},
		"exit":     {func(p peer, out *os.File) { p.print(out, "bad"); _ = out.Close(); p.ended(3 << 8) }, Result{Code: 3, Output: "bad"}},
		"signal":   {func(p peer, out *os.File) { _ = out.Close(); p.ended(uint32(unix.SIGKILL)) }, Result{Code: 137}},
		"all kept": {func(p peer, out *os.File) { p.print(out, "0123456789"); _ = out.Close(); p.ended(0) }, Result{Output: "0123456789"}},
		"too much": {func(p peer, out *os.File) { p.print(out, "0123456789a"); _ = out.Close(); p.ended(0) }, Result{Output: "0123456789", Truncated: true}},
		"more than a pipe holds": {func(p peer, out *os.File) {
			p.print(out, strings.Repeat("0123456789", 100_000))
			_ = out.Close()
			p.ended(0)
		}, Result{Output: "0123456789", Truncated: true}},
		"late":        {func(p peer, out *os.File) { p.print(out, "so far"); _ = out.Close(); p.say(Late) }, Result{Late: true, Output: "so far"}},
		"left behind": {func(p peer, out *os.File) { p.print(out, "left"); p.ended(0); p.order(); _ = out.Close() }, Result{Output: "left"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if res, err := newProcess(t, c.serve).Run(t.Context(), 10); err != nil || res != c.want {
				t.Errorf("%+v %v, want %+v", res, err, c.want)
			}
		})
	}
}

func TestUseless(t *testing.T) {
	for name, serve := range map[string]func(p peer, out *os.File){
		"gone":    func(_ peer, out *os.File) { _ = out.Close() },
		"failed":  func(p peer, out *os.File) { _ = out.Close(); p.say(Failed, 1, 0, 0, 0, 'x') },
		"cut":     func(p peer, out *os.File) { _ = out.Close(); p.say(Ended, 0) },
		"strange": func(p peer, out *os.File) { _ = out.Close(); p.say('?', 0, 0, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t, serve)
			for range 2 {
				if res, err := p.Run(t.Context(), 10); !errors.Is(err, ErrUseless) {
					t.Errorf("%+v %v", res, err)
				}
			}
		})
	}
}

// TestContext: before and after a child's output has begun to be read.
func TestContext(t *testing.T) {
	for _, wait := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		p := newProcess(t, func(p peer, out *os.File) {
			if wait {
				p.print(out, strings.Repeat("x", 1<<20)) // ends when somebody reads
			}
			cancel()
			p.order()
			_ = out.Close()
		})
		if res, err := p.Run(ctx, 10); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v %v", res, err)
		}
	}
}
