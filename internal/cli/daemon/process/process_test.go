package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is its own gantryd when GANTRY_TEST_DAEMON says how that
// one behaves.
func TestMain(m *testing.M) {
	switch os.Getenv("GANTRY_TEST_DAEMON") {
	case "":
		os.Exit(m.Run())
	case "serve":
		os.Exit(serve())
	default:
		fmt.Println("going down")
		os.Exit(3)
	}
}

func serve() int {
	socket := ""
	for i, a := range os.Args {
		if a == "--host" {
			socket = strings.TrimPrefix(os.Args[i+1], "unix://")
		}
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = conn.Write([]byte("STATUS=starting\nREADY=1\n"))
	<-stop
	_ = l.Close()
	return 0
}

// install puts the test binary as gantryd into PATH.
func install(t *testing.T, behaviour string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, binary)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("GANTRY_TEST_DAEMON", behaviour)
}

func TestStartFindStop(t *testing.T) {
	install(t, "serve")
	socket := filepath.Join(t.TempDir(), "run", "g.sock")
	if _, err := Find(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("nobody listens: %v", err)
	}
	r, err := Start(t.Context(), Options{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	found, err := Find(socket)
	if err != nil || found.Pid != r.Pid || r.Pid == os.Getpid() {
		t.Errorf("found %+v, %v; started %+v", found, err, r)
	}
	if sid, err := getsid(r.Pid); err != nil || sid != r.Pid {
		t.Errorf("session of %d is %d, %v", r.Pid, sid, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Stop(ctx, r); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after stop: %v", err)
	}
}

func TestStartReportsAFailedDaemon(t *testing.T) {
	install(t, "fail")
	socket := filepath.Join(t.TempDir(), "g.sock")
	_, err := Start(t.Context(), Options{Socket: socket})
	log := filepath.Join(filepath.Dir(socket), binary+".log")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), log) {
		t.Errorf("error %v", err)
	}
	if data, _ := os.ReadFile(log); string(data) != "going down\n" {
		t.Errorf("log %q", data)
	}
}

func TestStartWithoutProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Options{Socket: filepath.Join(t.TempDir(), "g.sock")}); err == nil {
		t.Error("no error")
	}
}

func getsid(pid int) (int, error) {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sid), nil
}
