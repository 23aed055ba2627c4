package supervisor

import (
	"io"
	"net"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

func interactive(s *wire.Start, _ *specs.Spec) { s.OpenStdin, s.StdinOnce = true, true }

func (f *fixture) attached(t *testing.T, id string, want wire.Attach) *net.UnixConn {
	t.Helper()
	conn, err := f.Attach(t.Context(), id, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (f *fixture) knows(id string) bool {
	_, err := f.srv.find(id)
	return err == nil
}

// TestClientThatLeavesBeforeTheStart ends nothing of the container's.
func TestClientThatLeavesBeforeTheStart(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	all := wire.Attach{Stdin: true, Stdout: true, Stderr: true}
	gone := f.attached(t, "box", all)
	conn := f.attached(t, "box", all)
	_ = gone.Close()
	if _, err := f.start(t, "box", "cat", interactive); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 8+len(text))
		if _, err := io.ReadFull(conn, frame); err != nil || string(frame[8:]) != text {
			t.Fatalf("%q, %v came back of %q", frame, err, text)
		}
	}
	_ = conn.CloseWrite()
	if exit := wait("box", ""); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
}

// TestClientThatLeavesIsForgotten: nobody starts the container, and yet nothing
// stays of the client, nor of a container that only it has asked for.
func TestClientThatLeavesIsForgotten(t *testing.T) {
	f := newFixture(t)
	for name, leave := range map[string]func(*net.UnixConn){
		"silently": func(*net.UnixConn) {},
		"after the end of its input": func(c *net.UnixConn) {
			_ = c.CloseWrite()
			time.Sleep(20 * time.Millisecond) // so that the watcher has seen it
		},
		"after input that nobody wants": func(c *net.UnixConn) { _, _ = io.WriteString(c, "input") },
	} {
		t.Run(name, func(t *testing.T) {
			conn := f.attached(t, "box", wire.Attach{Stdout: true})
			leave(conn)
			if !f.knows("box") {
				t.Error("a client that is there is not waited with")
			}
			_ = conn.Close()
			within(t, "the end of the wait", func() {
				for f.knows("box") {
					time.Sleep(time.Millisecond)
				}
			})
		})
	}
}

// TestInputThatWasSentBeforeTheStart reaches the container though its sender did
// not stay.
func TestInputThatWasSentBeforeTheStart(t *testing.T) {
	f := newFixture(t)
	wait := f.exits(t)
	conn := f.attached(t, "box", wire.Attach{Stdin: true})
	if _, err := io.WriteString(conn, "input\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	time.Sleep(20 * time.Millisecond) // so that the watcher has seen it
	if _, err := f.start(t, "box", "cat", interactive); err != nil {
		t.Fatal(err)
	}
	wait("box", "")
	if got := f.logText(t, "box"); got != "input\n" {
		t.Errorf("logged %q", got)
	}
}

// TestForgetDropsWhoWaits: the container has been removed, so its client learns
// that there is nothing to wait for.
func TestForgetDropsWhoWaits(t *testing.T) {
	f := newFixture(t)
	conn := f.attached(t, "box", wire.Attach{Stdout: true})
	if err := f.Forget(t.Context(), "box", true); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestStdinIsClosedWithoutLocks: while the daemon is told that stdin is closed, it
// may ask for the descriptors, and other daemons for everything else.
func TestStdinIsClosedWithoutLocks(t *testing.T) {
	p, err := newPipes(true, false)
	if err != nil {
		t.Fatal(err)
	}
	p.closeTheirs()
	s := p.streams(nil, true)
	told := false
	s.onStdinClosed = func() {
		told = true
		s.descriptors().Close()
	}
	within(t, "the end of stdin", s.closeStdin)
	if !told {
		t.Error("nobody was told")
	}
	s.finish()
}
