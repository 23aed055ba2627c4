package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/client"
)

// pair is a unix connection with a half-close, as the daemon's is.
func pair(t *testing.T) (near client.HijackedResponse, far *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = peer.Close() })
	return client.HijackedResponse{Conn: conn, Reader: bufio.NewReader(conn)}, peer.(*net.UnixConn)
}

func frame(stream byte, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	b[0] = stream
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}

func TestAttachSplitsStreamsAndClosesInput(t *testing.T) {
	near, far := pair(t)
	got := make(chan string, 1)
	go func() {
		in, _ := io.ReadAll(far) // until the input is closed
		_, _ = far.Write(frame(1, "out"))
		_, _ = far.Write(frame(2, "err"))
		_ = far.Close()
		got <- string(in)
	}()
	var out, errOut bytes.Buffer
	err := Attach{Conn: near, In: strings.NewReader("input"), Out: &out, Err: &errOut}.Run(t.Context())
	if err != nil || out.String() != "out" || errOut.String() != "err" || <-got != "input" {
		t.Errorf("%v: out %q, err %q", err, out.String(), errOut.String())
	}
}

func TestAttachDetaches(t *testing.T) {
	for keys, input := range map[string]string{"": "a\x10\x11", "ctrl-a,b": "x\x01b"} {
		near, far := pair(t)
		got := make(chan string, 1)
		go func() {
			in, _ := io.ReadAll(far)
			got <- string(in)
		}()
		var out bytes.Buffer
		err := Attach{Conn: near, In: strings.NewReader(input), Out: &out, TTY: true, DetachKeys: keys}.Run(t.Context())
		if !errors.Is(err, ErrDetached) {
			t.Errorf("keys %q: %v", keys, err)
		}
		if in := <-got; in != input[:1] {
			t.Errorf("keys %q: %q was sent", keys, in)
		}
	}
}

func TestAttachIgnoresDetachKeysWithoutTTY(t *testing.T) {
	near, far := pair(t)
	got := make(chan string, 1)
	go func() {
		in, _ := io.ReadAll(far)
		_ = far.Close()
		got <- string(in)
	}()
	err := Attach{Conn: near, In: strings.NewReader("a\x10\x11b"), Out: io.Discard}.Run(t.Context())
	if in := <-got; err != nil || in != "a\x10\x11b" {
		t.Errorf("%v: %q was sent", err, in)
	}
}

func TestAttachTTYOutputIsRaw(t *testing.T) {
	near, far := pair(t)
	go func() {
		_, _ = far.Write([]byte("\x01raw\r\n"))
		_ = far.Close()
	}()
	var out bytes.Buffer
	if err := (Attach{Conn: near, Out: &out, TTY: true}).Run(t.Context()); err != nil || out.String() != "\x01raw\r\n" {
		t.Errorf("%v: %q", err, out.String())
	}
}

func TestParseDetachKeys(t *testing.T) {
	if b, err := ParseDetachKeys(""); err != nil || !bytes.Equal(b, []byte{16, 17}) {
		t.Errorf("default: %v, %v", b, err)
	}
	if _, err := ParseDetachKeys("foo"); err == nil {
		t.Error("foo is accepted")
	}
}
