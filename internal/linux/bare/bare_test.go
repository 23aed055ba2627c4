package bare_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/testenv"
)

func TestMain(m *testing.M) {
	_, err := bare.Executable() // one for the whole process: no leak
	if err == nil {
		_, err = fd.DevNull()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testenv.Main(m, testenv.Options{Gates: []testenv.Gate{testenv.FDs, testenv.Goroutines, testenv.Children}})
}

// The numbers of descriptors in the process under test.
const (
	output  = 1
	reports = 3
	image   = 4
)

// outcome is what a program has left behind.
type outcome struct {
	status          unix.WaitStatus
	output, reports string
}

// carryOut runs a program in a process of its own, and once more in one that shares
// this one's memory, with the same outcome.
func carryOut(t *testing.T, p *bare.Program) outcome {
	t.Helper()
	executed := observe(t, func(out, reports int) (ns.Child, error) {
		exe, err := bare.Executable()
		if err != nil {
			return ns.Child{}, err
		}
		calls, err := p.File()
		if err != nil {
			return ns.Child{}, err
		}
		defer fd.Close(calls)
		null, err := fd.DevNull()
		if err != nil {
			return ns.Child{}, err
		}
		return fork(exe, []uintptr{null.Fd(), uintptr(out), null.Fd(), uintptr(reports), uintptr(calls)})
	})
	var placed *bare.Placed
	defer func() { placed.Remove() }()
	beside := observe(t, func(out, report int) (_ ns.Child, err error) {
		p.Begin(func() {
			const high = 1000
			for i, h := range []int{out, report} {
				p.Call(nil, unix.SYS_DUP3, bare.Int(h), bare.Int(high+i), bare.Int(0))
			}
			for i, number := range []int{output, reports} {
				p.Call(nil, unix.SYS_DUP3, bare.Int(high+i), bare.Int(number), bare.Int(0))
			}
			p.Call(nil, unix.SYS_CLOSE_RANGE, bare.Int(reports+1), bare.Int(^uint32(0)), bare.Int(0))
		})
		if placed, err = p.Place(); err != nil {
			return ns.Child{}, err
		}
		return ns.ForkJoin(func() (ns.Joiner, error) {
			return ns.Joiner{Code: placed.Code, Stack: placed.Stack, StackSize: placed.Size, CgroupFD: -1}, nil
		})
	})
	if beside != executed {
		t.Errorf("executed %+v, beside us %+v", executed, beside)
	}
	return executed
}

// observe collects what a child leaves behind, which start gives two pipes.
func observe(t *testing.T, start func(output, reports int) (ns.Child, error)) (o outcome) {
	t.Helper()
	var pipes [2][2]int
	for i := range pipes {
		if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	child, err := start(pipes[0][1], pipes[1][1])
	fd.Close(pipes[0][1])
	fd.Close(pipes[1][1])
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close(child.PidFD)
	for i, to := range []*string{&o.output, &o.reports} {
		f := os.NewFile(uintptr(pipes[i][0]), "pipe")
		data, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		*to = string(data)
	}
	if _, err := unix.Wait4(child.Pid, &o.status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return o
}

func fork(exe *os.File, files []uintptr) (ns.Child, error) {
	return ns.ForkJoin(func() (ns.Joiner, error) {
		return ns.Joiner{Program: int(exe.Fd()), Argv: bare.Args(image), Env: []string{"A=1"}, Files: files, CgroupFD: -1}, nil
	})
}

func (o outcome) want(t *testing.T, exit int, output, reports string) {
	t.Helper()
	if !o.status.Exited() || o.status.ExitStatus() != exit || o.output != output || o.reports != reports {
		t.Errorf("status %#x, output %q, reports %q; want exit %d, %q, %q", o.status, o.output, o.reports, exit, output, reports)
	}
}

func write(p *bare.Program, s string) {
	p.Call([]byte("write"), unix.SYS_WRITE, bare.Int(output), p.String(s), bare.Int(len(s)))
}

func exit(p *bare.Program, code int) { p.Call(nil, unix.SYS_EXIT_GROUP, bare.Int(code)) }

func errno(e unix.Errno) string {
	return string(binary.NativeEndian.AppendUint32(nil, uint32(e)))
}

func TestCallsInOrder(t *testing.T) {
	p := bare.New(reports)
	write(p, "one ")
	write(p, "two")
	exit(p, 7)
	carryOut(t, p).want(t, 7, "one two", "")
}

func TestExec(t *testing.T) {
	testenv.Need(t, testenv.File("/bin/busybox"))
	p := bare.New(reports)
	p.Call([]byte("exec"), unix.SYS_EXECVE, p.String("/bin/busybox"),
		p.Strings([]string{"sh", "-c", `echo "$0 $1 $X"`, "a", strings.Repeat("b", 5000)}), p.Strings([]string{"X=y"}))
	carryOut(t, p).want(t, 0, "a "+strings.Repeat("b", 5000)+" y\n", "")
}

func TestFailureIsReported(t *testing.T) {
	p := bare.New(reports)
	write(p, "before")
	p.Call([]byte("no such call: "), unix.SYS_CHDIR, p.String("/no/such/directory"))
	write(p, "after")
	carryOut(t, p).want(t, 1, "before", "no such call: "+errno(unix.ENOENT))
}

func TestToleratedFailure(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*bare.Call)
		exit    int
		output  string
		reports string
	}{
		{"this one", func(c *bare.Call) { c.Tolerate(unix.ENOENT, 0) }, 0, "123", ""},
		{"this one, skipping", func(c *bare.Call) { c.Tolerate(unix.ENOENT, 2) }, 0, "3", ""},
		{"another one", func(c *bare.Call) { c.Tolerate(unix.EPERM, 2) }, 1, "", "chdir" + errno(unix.ENOENT)},
		{"any", func(c *bare.Call) { c.Optional() }, 0, "123", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bare.New(reports)
			c.change(p.Call([]byte("chdir"), unix.SYS_CHDIR, p.String("/no/such/directory")))
			write(p, "1")
			write(p, "2")
			write(p, "3")
			exit(p, 0)
			carryOut(t, p).want(t, c.exit, c.output, c.reports)
		})
	}
}

func TestSkippingOnlyAfterFailure(t *testing.T) {
	p := bare.New(reports)
	p.Call([]byte("chdir"), unix.SYS_CHDIR, p.String("/")).Tolerate(unix.ENOENT, 1)
	write(p, "1")
	exit(p, 0)
	carryOut(t, p).want(t, 0, "1", "")
}

func TestSkippingIfZero(t *testing.T) {
	for _, c := range []struct {
		nr     uintptr
		output string
	}{{unix.SYS_GETUID, "2"}, {unix.SYS_GETPID, "12"}} {
		p := bare.New(reports)
		p.Call(nil, c.nr).IfZero(1)
		write(p, "1")
		write(p, "2")
		exit(p, 0)
		carryOut(t, p).want(t, 0, c.output, "")
	}
}

func TestStringWithNUL(t *testing.T) {
	p := bare.New(reports)
	p.Strings([]string{"a", "b\x00c"})
	if _, err := p.File(); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

// slots passes a file's number and what is read from it through slots.
func slots(p *bare.Program) {
	file, status := p.Slot(), p.Slot()
	p.Call([]byte("open"), unix.SYS_OPENAT, bare.Int(unix.AT_FDCWD), p.String("/proc/sys/kernel/ostype"), bare.Int(unix.O_RDONLY), bare.Int(0)).Into(file)
	p.Call([]byte("read"), unix.SYS_READ, file.Value(), status.Addr(), bare.Int(5)).Want(5)
	p.Call([]byte("write"), unix.SYS_WRITE, bare.Int(output), status.Addr(), bare.Int(5)).Want(5)
	p.Call([]byte("close"), unix.SYS_CLOSE, file.Value())
}

func TestSlots(t *testing.T) {
	p := bare.New(reports)
	slots(p)
	exit(p, 0)
	carryOut(t, p).want(t, 0, "Linux", "")
}

func TestNegativeOfSlot(t *testing.T) {
	p := bare.New(reports)
	s := p.Slot()
	p.Call([]byte("write"), unix.SYS_WRITE, bare.Int(output), p.String("abc"), bare.Int(3)).Into(s)
	p.Call(nil, unix.SYS_EXIT_GROUP, s.Negative())
	carryOut(t, p).want(t, 256-3, "abc", "")
}

// TestPage: a program changes its own data.
func TestPage(t *testing.T) {
	p := bare.New(reports)
	file := p.Slot()
	write(p, "before ")
	p.Call([]byte("open"), unix.SYS_OPENAT, bare.Int(unix.AT_FDCWD), p.String("/proc/sys/kernel/ostype"), bare.Int(unix.O_RDONLY), bare.Int(0)).Into(file)
	page, size := p.Page(func(at uint64) []byte { return binary.NativeEndian.AppendUint64([]byte("........"), at) })
	after := p.Bytes([]byte("after"))
	if page.Value()%uint64(size) != 0 || after.Value() < page.Value()+uint64(size) {
		t.Errorf("page of %#x bytes at %#x, then %#x", size, page.Value(), after.Value())
	}
	p.Call([]byte("protect"), unix.SYS_MPROTECT, page, bare.Int(size), bare.Int(unix.PROT_READ|unix.PROT_WRITE))
	p.Call([]byte("read"), unix.SYS_READ, file.Value(), page, bare.Int(5)).Want(5)
	p.Call([]byte("write"), unix.SYS_WRITE, bare.Int(output), page, bare.Int(16))
	p.Call([]byte("read only"), unix.SYS_READ, file.Value(), after, bare.Int(1))
	carryOut(t, p).want(t, 1, "before Linux..."+string(binary.NativeEndian.AppendUint64(nil, page.Value())), "read only"+errno(unix.EFAULT))
}

func TestUnwantedResultEndsSilently(t *testing.T) {
	p := bare.New(reports)
	s := p.Slot()
	p.Call([]byte("read"), unix.SYS_READ, bare.Int(0), s.Addr(), bare.Int(8)).Want(8) // from /dev/null: 0
	write(p, "not reached")
	carryOut(t, p).want(t, 1, "", "")
}

func TestProcessIsSmallAndClean(t *testing.T) {
	p := bare.New(reports)
	write(p, "up")
	p.Call(nil, unix.SYS_PPOLL, bare.Int(0), bare.Int(0), bare.Int(0), bare.Int(0)) // for ever
	exe, err := bare.Executable()
	if err != nil {
		t.Fatal(err)
	}
	calls, err := p.File()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close(calls)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer fd.Close(pipe[0])
	child, err := fork(exe, []uintptr{0, uintptr(pipe[1]), 2, uintptr(pipe[1]), uintptr(calls)})
	fd.Close(pipe[1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		fd.Close(child.PidFD)
		_ = unix.Kill(child.Pid, unix.SIGKILL) // it is our child and not reaped yet
		if _, err := unix.Wait4(child.Pid, nil, 0, nil); err != nil {
			t.Error(err)
		}
	}()
	if n, err := unix.Read(pipe[0], make([]byte, 8)); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", child.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(maps); strings.Contains(s, "rwx") || strings.Contains(s, "heap") || strings.Count(s, "\n") > 8 || !strings.Contains(s, "gantry-init") {
		t.Errorf("memory of the process:\n%s", s)
	}
}

func TestRunInProcess(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer fd.Close(pipe[0])
	defer fd.Close(pipe[1])
	p := bare.New(reports)
	s := p.Slot()
	p.Call([]byte("pid"), unix.SYS_GETPID).Into(s)
	p.Call([]byte("kill"), unix.SYS_KILL, s.Value(), bare.Int(0)).IfZero(1)
	p.Call([]byte("skipped"), unix.SYS_CHDIR, p.String("/no/such/directory"))
	p.Call([]byte("chdir"), unix.SYS_CHDIR, p.String("/no/such/directory")).Tolerate(unix.ENOENT, 1)
	p.Call([]byte("skipped"), unix.SYS_CHDIR, p.String("/no/such/directory"))
	p.Call([]byte("write"), unix.SYS_WRITE, bare.Int(pipe[1]), p.String("hello"), bare.Int(5)).Want(5)
	p.Call([]byte("the reason: "), unix.SYS_CHDIR, p.String("/no/such/directory"))
	err := p.Run()
	f, ok := errors.AsType[*bare.Failure](err)
	if !ok || string(f.Report) != "the reason: " || f.Errno != unix.ENOENT {
		t.Errorf("%v", err)
	}
	buf := make([]byte, 16)
	if n, err := unix.Read(pipe[0], buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%q %v", buf[:n], err)
	}
}

func TestTooBig(t *testing.T) {
	p := bare.New(reports)
	p.Bytes(make([]byte, bare.MaxImage))
	if _, err := p.File(); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Error(err)
	}
}

func BenchmarkStart(b *testing.B) {
	exe, err := bare.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p := bare.New(reports)
		exit(p, 0)
		calls, err := p.File()
		if err != nil {
			b.Fatal(err)
		}
		child, err := fork(exe, []uintptr{0, 1, 2, 2, uintptr(calls)})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Wait4(child.Pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
		fd.Close(child.PidFD)
		fd.Close(calls)
	}
}
