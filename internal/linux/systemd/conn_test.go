package systemd

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Children}})
}

// busConfig is that of a bus on which everybody may be everything.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`

// startBus starts a bus and gives its socket.
func startBus(t *testing.T) string {
	t.Helper()
	testenv.Need(t, testenv.Tool("dbus-daemon"))
	dir := t.TempDir()
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(strings.Replace(busConfig, "SOCKET", socket, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // or it has ended
		_ = cmd.Wait()         // it was killed
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		t.Fatal(err)
	}
	return socket
}

// fakeManager is what a bus knows as systemd. It answers a start after telling
// of the end of its job, and a stop before.
type fakeManager struct {
	conn *dbus.Conn

	mu    sync.Mutex
	calls []string
}

func (f *fakeManager) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakeManager) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

type property struct {
	Name  string
	Value dbus.Variant
}

type auxiliary struct {
	Name       string
	Properties []property
}

func (f *fakeManager) ended(job, result string) *dbus.Error {
	err := f.conn.Emit(object, manager+".JobRemoved", uint32(1), dbus.ObjectPath(job), "x.scope", result)
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

func (f *fakeManager) StartTransientUnit(name, mode string, list []property, _ []auxiliary) (dbus.ObjectPath, *dbus.Error) {
	if name == "there.scope" {
		return "", dbus.NewError(service+".UnitExists", []any{"unit is there"})
	}
	f.note("start " + name + " " + mode + " " + list[0].Name + "=" + list[0].Value.String())
	result := map[bool]string{true: "failed", false: "done"}[name == "bad.scope"]
	return "/job/1", f.ended("/job/1", result)
}

func (f *fakeManager) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	f.note("stop " + name + " " + mode)
	time.AfterFunc(20*time.Millisecond, func() { f.ended("/job/2", "done") })
	return "/job/2", nil
}

func (f *fakeManager) SetUnitProperties(name string, runtime bool, list []property) *dbus.Error {
	f.note("set " + name + " " + list[0].Name)
	return nil
}

func (f *fakeManager) ResetFailedUnit(string) *dbus.Error {
	return dbus.NewError(service+".NoSuchUnit", nil)
}

func (f *fakeManager) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if name == "Version" {
		return dbus.MakeVariant("252.1"), nil
	}
	return dbus.MakeVariant(uint32(7)), nil
}

func serveManager(t *testing.T, address string) *fakeManager {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fakeManager{conn: conn}
	if err := errors.Join(conn.Export(f, object, manager), conn.Export(f, object, "org.freedesktop.DBus.Properties")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(service, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBus speaks through a real bus with a manager that another implementation serves.
func TestBus(t *testing.T) {
	socket := startBus(t)
	address := "unix:path=" + strings.ReplaceAll(socket, "bus", "%62us") + ",guid=00"
	f := serveManager(t, "unix:path="+socket)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=nowhere;unix:path=/nowhere;"+address)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list := []Property{{"PIDs", Array("u", Uint32(7))}}
	if err := c.StartTransientUnit("a.scope", list); err != nil {
		t.Error(err)
	}
	if err := c.StartTransientUnit("bad.scope", list); err == nil || err.Error() != `systemd says "failed"` {
		t.Errorf("a job that fails: %v", err)
	}
	if err := c.StartTransientUnit("there.scope", list); !Is(err, "UnitExists") || err.Error() != "unit is there" {
		t.Errorf("a unit that is there: %v", err)
	}
	if err := errors.Join(c.StopUnit("a.scope"), c.SetUnitProperties("a.scope", list)); err != nil {
		t.Error(err)
	}
	if err := c.ResetFailedUnit("a.scope"); !Is(err, "NoSuchUnit") || err.Error() != service+".NoSuchUnit" {
		t.Errorf("reset: %v", err)
	}
	if v, err := c.ManagerProperty("Version"); err != nil || v != "252.1" {
		t.Errorf("version %q, %v", v, err)
	}
	if v, err := c.ManagerProperty("Number"); err == nil {
		t.Errorf("a number is read as %q", v)
	}
	want := []string{"start a.scope replace PIDs=@au [7]", "start bad.scope replace PIDs=@au [7]", "stop a.scope replace", "set a.scope PIDs"}
	if got := f.noted(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if u, err := DialUser(ctx, "", filepath.Dir(socket), os.Getuid()); err != nil {
		t.Error(err)
	} else {
		u.Close()
	}
	if _, err := DialUser(ctx, address, "", os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "authenticate") {
		t.Errorf("another user: %v", err)
	}
}

// TestSilence ends with its context, whoever does not answer.
func TestSilence(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "bus"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := DialUser(ctx, "", dir, os.Getuid()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestSocketOf(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/bus": "/run/bus", "unix:guid=1,path=/a%20b": "/a b", "unix:abstract=/tmp/x": "@/tmp/x",
	} {
		if got, err := socketOf(address); err != nil || got != want {
			t.Errorf("%s: got %q, %v", address, got, err)
		}
	}
	for _, address := range []string{"", "tcp:host=a", "unix:", "unix:path=", "unix:path=%4", "unix:path=%zz", "unix:tmpdir=/tmp"} {
		if got, err := socketOf(address); err == nil {
			t.Errorf("%s: got %q", address, got)
		}
	}
}
