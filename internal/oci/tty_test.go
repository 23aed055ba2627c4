package oci

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/tty"
)

// readConsole reads a terminal until its last user is gone.
func readConsole(t *testing.T, p *Process) (string, int) {
	t.Helper()
	data, err := io.ReadAll(p.Console)
	if err != nil && !errors.Is(err, syscall.EIO) { // how a master says that
		t.Error(err)
	}
	return strings.ReplaceAll(string(data), "\r\n", "\n"), wait(t, p)
}

func terminal(s *specs.Spec) *specs.Spec {
	s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 41, Width: 101}
	return s
}

func TestRunTerminal(t *testing.T) {
	r := newRuntime(t)
	spec := terminal(newSpec("sh", "-c", "tty; stty size; stat -c '%t %u' /dev/console; echo con > /dev/console; echo tty > /dev/tty; ls -1 /dev/pts; exit 3"))
	spec.Process.User.UID = 1000
	c, p, err := r.Run(t.Context(), "tty", CreateOptions{Bundle: newBundle(t), Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	out, code := readConsole(t, p)
	if want := "/dev/pts/0\n41 101\n88 1000\ncon\ntty\n0\nptmx\n"; out != want || code != 3 {
		t.Errorf("got %q %d, want %q", out, code, want)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestExecTerminal(t *testing.T) {
	c := background(t, nil)
	process := newProcess("sh", "-c", "tty; stty size; read x; echo got $x; stty size; tty < /dev/console")
	process.Terminal, process.ConsoleSize = true, &specs.Box{Height: 10, Width: 20}
	p, err := c.Exec(t.Context(), ExecOptions{Process: process})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for got := ""; !strings.Contains(got, "10 20"); {
		n, err := p.Console.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	if err := tty.Resize(int(p.Console.Fd()), 33, 44); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Console.WriteString("input\n"); err != nil {
		t.Fatal(err)
	}
	out, _ := readConsole(t, p)
	if !strings.Contains(out, "got input\n33 44\n") {
		t.Errorf("got %q", out)
	}
}

// TestTerminalInterrupt types ^C: the terminal must be the controlling one.
func TestTerminalInterrupt(t *testing.T) {
	r := newRuntime(t)
	c, p, err := r.Run(t.Context(), "int", CreateOptions{Bundle: newBundle(t), Spec: terminal(newSpec("sh", "-c", "trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done"))})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := p.Console.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "ready") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := p.Console.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if _, code := readConsole(t, p); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestConsoleSocket(t *testing.T) {
	r := newRuntime(t)
	path := filepath.Join(t.TempDir(), "console.sock")
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock) //nolint:errcheck // a test's socket
	if err := errors.Join(unix.Bind(sock, &unix.SockaddrUnix{Name: path}), unix.Listen(sock, 1)); err != nil {
		t.Fatal(err)
	}
	c, p, err := r.Run(t.Context(), "sock", CreateOptions{
		Bundle: newBundle(t), Spec: terminal(newSpec("echo", "over the socket")), ConsoleSocket: path,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Console != nil {
		t.Error("the caller has the console as well")
	}
	conn, _, err := unix.Accept(sock)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(conn) //nolint:errcheck // a test's socket
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(conn, name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		t.Fatalf("%d, %v", n, err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("%v, %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v, %v", fds, err)
	}
	p.Console = os.NewFile(uintptr(fds[0]), "console")
	if out, _ := readConsole(t, p); out != "over the socket\n" {
		t.Errorf("got %q", out)
	}
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	// A socket where nobody listens fails the run and leaves nothing.
	if _, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: terminal(newSpec("true")), ConsoleSocket: path + "x"}); err == nil {
		t.Error("no error")
	}
}

// TestFakeTerminals gives the container a /dev/pts and /dev/ptmx that are no terminals.
func TestFakeTerminals(t *testing.T) {
	bundle := newBundle(t)
	spec := terminal(newSpec("true"))
	spec.Mounts = append(spec.Mounts[:2:2], spec.Mounts[3]) // no devpts
	for name, prepare := range map[string]func() error{
		"nothing": func() error { return nil },
		"a file":  func() error { return os.MkdirAll(filepath.Join(bundle, "rootfs/fake/pts"), 0o755) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if name == "a file" {
			if err := os.WriteFile(filepath.Join(bundle, "rootfs/fake/pts/ptmx"), nil, 0o666); err != nil {
				t.Fatal(err)
			}
			spec = withMounts(spec, specs.Mount{Destination: "/dev/pts", Type: "bind", Source: filepath.Join(bundle, "rootfs/fake/pts"), Options: []string{"bind"}})
		}
		if _, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec}); err == nil || !strings.Contains(err.Error(), "terminal") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
