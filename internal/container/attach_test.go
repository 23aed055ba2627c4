package container

import (
	"io"
	"net"
	"testing"
	"time"
)

// hangingUp is a client whose end the test tells.
type hangingUp struct {
	*net.UnixConn
	gone chan bool
}

func (h hangingUp) AwaitHangup() bool { return <-h.gone }

// connected gives both ends of a socket.
func connected(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // both ends are there
	dialled, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	return dialled.(*net.UnixConn), accepted.(*net.UnixConn)
}

// TestJoinEndsWithTheClient: also when the container says nothing, and with an end
// of input before.
func TestJoinEndsWithTheClient(t *testing.T) {
	for name, stdin := range map[string]bool{"with stdin": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			client, ours := connected(t)
			streams, quiet := connected(t)
			h := hangingUp{ours, make(chan bool)}
			done := make(chan bool)
			go func() { done <- join(h, streams, stdin, false, nil, nil) }()
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if stdin { // which is passed on
				if _, err := io.Copy(io.Discard, quiet); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := quiet.Write([]byte("output")); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 6)
			if _, err := io.ReadFull(client, got); err != nil || string(got) != "output" {
				t.Errorf("after the end of its input the client gets %q, %v", got, err)
			}
			h.gone <- true
			select {
			case detached := <-done:
				if detached {
					t.Error("the client's end is taken for a detach")
				}
			case <-time.After(20 * time.Second):
				t.Error("the client has gone, and nobody has noticed")
			}
		})
	}
}
