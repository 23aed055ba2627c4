package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesCarryValuesAndFiles(t *testing.T) {
	a, b := pair(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 300<<10) // more than a socket buffer
	sent := make(chan error, 1)
	go func() {
		sent <- errors.Join(Write(a, Request{Op: OpStart, ID: big}, int(f.Fd())), Write(a, Request{Op: OpPing}), a.Close())
	}()
	var req Request
	files, err := Read(b, &req)
	if err != nil {
		t.Fatal(err)
	}
	if req.Op != OpStart || req.ID != big || len(files) != 1 {
		t.Fatalf("op %s, id of %d bytes, %d files", req.Op, len(req.ID), len(files))
	}
	buf := make([]byte, 5)
	if _, err := unix.Pread(files[0], buf, 0); err != nil || string(buf) != "hello" {
		t.Errorf("received file reads %q, %v", buf, err)
	}
	files.Close()
	req = Request{}
	if files, err = Read(b, &req); err != nil || req.Op != OpPing || len(files) != 0 {
		t.Errorf("second frame: %+v, %d files, %v", req, len(files), err)
	}
	if _, err := Read(b, &req); !errors.Is(err, io.EOF) {
		t.Errorf("after close: %v, want EOF", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	e := &Error{Kind: errs.NotFound, Message: "exec: \"x\": not found", Program: true}
	err := e.Err()
	var p *ProgramError
	if !errs.Is(err, errs.NotFound) || !errors.As(err, &p) || err.Error() != e.Message {
		t.Errorf("got %v (%s)", err, errs.KindOf(err))
	}
	e = &Error{Kind: errs.InvalidArgument, Message: "unable to find user x", User: true}
	var u *UserError
	if err := e.Err(); !errs.Is(err, errs.InvalidArgument) || !errors.As(err, &u) || errors.As(err, &p) || err.Error() != e.Message {
		t.Errorf("got %v (%s)", err, errs.KindOf(err))
	}
	if (*Error)(nil).Err() != nil {
		t.Error("no error became one")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, frame []byte) {
		a, b := pair(t)
		go func() { _, _ = a.Write(frame); a.Close() }()
		var req Request
		files, _ := Read(b, &req)
		if len(files) != 0 {
			t.Fatal("files out of nothing")
		}
	})
}
