package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// childEnv names the scenario that the re-executed test binary plays with a
// filter in force; filterEnv is the file with the filter.
const (
	childEnv  = "GANTRY_TEST_SECCOMP_CHILD"
	filterEnv = "GANTRY_TEST_SECCOMP_FILTER"
)

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	p, err := readProgram(os.Getenv(filterEnv))
	if err == nil {
		err = scenarios[name](p)
	}
	if err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
	fmt.Println("child: ok")
	os.Exit(0)
}

func readProgram(path string) (*Program, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := new(Program)
	return p, p.UnmarshalBinary(b)
}

// scenarios run in a child on a locked thread. They return what is wrong.
var scenarios = map[string]func(*Program) error{
	"default": func(p *Program) error {
		if err := p.Load(); err != nil {
			return err
		}
		return errors.Join(
			want("getppid", unix.SYS_GETPPID, 0),
			want("socket(AF_UNIX)", unix.SYS_SOCKET, 0, unix.AF_UNIX, unix.SOCK_STREAM, 0),
			want("socket(AF_INET)", unix.SYS_SOCKET, 0, unix.AF_INET, unix.SOCK_STREAM, 0),
			want("socket(AF_ALG)", unix.SYS_SOCKET, unix.EPERM, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
			want("socket(AF_ALG|1<<32)", unix.SYS_SOCKET, unix.EPERM, unix.AF_ALG|1<<32, unix.SOCK_SEQPACKET, 0),
			want("socket(AF_VSOCK)", unix.SYS_SOCKET, unix.EPERM, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
			want("clone3", unix.SYS_CLONE3, unix.ENOSYS, 0, 0),
			want("clone(CLONE_NEWUSER)", unix.SYS_CLONE, unix.EPERM, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)),
			want("keyctl", unix.SYS_KEYCTL, unix.EPERM),
			want("add_key", unix.SYS_ADD_KEY, unix.EPERM),
			want("io_uring_setup", unix.SYS_IO_URING_SETUP, unix.EPERM, 1, 0),
			want("unshare", unix.SYS_UNSHARE, unix.EPERM, unix.CLONE_NEWUSER),
			want("mount", unix.SYS_MOUNT, unix.EPERM),
			want("userfaultfd", unix.SYS_USERFAULTFD, unix.EPERM),
			want("personality(UNAME26)", unix.SYS_PERSONALITY, unix.EPERM, 0x20000|1),
			want("a call of the future", 900, unix.ENOSYS),
			want("x32 getpid", x32Bit|39, unix.ENOSYS),
			int80("getpid", 20, 0, 0, 0),
			int80("mount", 21, unix.EPERM, 0, 0),
			int80("keyctl", 288, unix.EPERM, 0, 0),
			int80("socket(AF_ALG)", 359, unix.EPERM, unix.AF_ALG, unix.SOCK_SEQPACKET),
			int80("clone3", 435, unix.ENOSYS, 0, 0),
		)
	},
	"errno": func(p *Program) error {
		if err := p.Load(); err != nil {
			return err
		}
		return errors.Join(
			want("mkdir", unix.SYS_MKDIR, unix.ENOTTY, 0),
			want("dup(1<<30)", unix.SYS_DUP, unix.EBADF, 1<<30),
			want("dup(1<<32|1<<30)", unix.SYS_DUP, unix.EXDEV, 1<<32|1<<30),
		)
	},
	"kill": func(p *Program) error {
		if err := p.Load(); err != nil {
			return err
		}
		_, _, errno := unix.RawSyscall(unix.SYS_SYSINFO, 0, 0, 0)
		return fmt.Errorf("still alive: %v", errno)
	},
	"exec": func(p *Program) error {
		if err := p.Load(); err != nil {
			return err
		}
		return syscall.Exec("/bin/busybox", []string{"busybox", "sleep", "0"}, nil)
	},
	"notify": notifyScenario,
	"notify without listener": func(p *Program) error {
		if err := p.Load(); err == nil {
			return errors.New("a program with SCMP_ACT_NOTIFY loaded without a listener")
		}
		return nil
	},
}

// want makes a raw call on this very thread.
func want(name string, nr uintptr, errno syscall.Errno, args ...uintptr) error {
	args = append(args, 0, 0, 0)
	if _, _, got := unix.RawSyscall(nr, args[0], args[1], args[2]); got != errno {
		return fmt.Errorf("%s: %d (%v), want %d (%v)", name, int(got), got, int(errno), errno)
	}
	return nil
}

// int80 makes a call of the 32-bit ABI: `int $0x80; ret` finds number and
// arguments in the registers where Go's calling convention puts them.
func int80(name string, nr uintptr, errno syscall.Errno, a, b uintptr) error {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(page, []byte{0xcd, 0x80, 0xc3})
	code := unsafe.Pointer(unsafe.SliceData(page))
	fn := unsafe.Pointer(&code)
	ret := int32((*(*func(nr, a, b uintptr) uintptr)(unsafe.Pointer(&fn)))(nr, a, b))
	if got := syscall.Errno(-min(ret, 0)); got != errno {
		return fmt.Errorf("int80 %s: %d (%v), want %d (%v)", name, int(got), got, int(errno), errno)
	}
	return nil
}

// The layout of include/uapi/linux/seccomp.h.
type (
	notif struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	notifResp struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
)

const (
	ioctlNotifRecv = 0xc0502100
	ioctlNotifSend = 0xc0182101
)

func notifyScenario(p *Program) error {
	fd, err := p.LoadNotify()
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	go func() { // on another thread, to which the filter does not apply
		var req notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifRecv, uintptr(unsafe.Pointer(&req))); errno != 0 {
			answered <- fmt.Errorf("receive: %w", errno)
			return
		}
		resp := notifResp{id: req.id, val: int64(req.args[0]) + 1}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifSend, uintptr(unsafe.Pointer(&resp))); errno != 0 {
			answered <- fmt.Errorf("send: %w", errno)
			return
		}
		answered <- nil
	}()
	got, _, errno := unix.Syscall(unix.SYS_GETPGID, 41, 0, 0)
	if err := <-answered; err != nil {
		return err
	}
	if got != 42 || errno != 0 {
		return fmt.Errorf("getpgid answered by the supervisor: %d, %v; want 42", got, errno)
	}
	return nil
}

// child plays a scenario and returns its output and how it ended.
func child(t *testing.T, scenario string, cfg *specs.LinuxSeccomp) (string, *os.ProcessState) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading a filter without no_new_privs needs root")
	}
	p, err := Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "filter")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+scenario, filterEnv+"="+file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState
}

func playOK(t *testing.T, scenario string, cfg *specs.LinuxSeccomp) {
	t.Helper()
	if out, state := child(t, scenario, cfg); !state.Success() || !strings.Contains(out, "child: ok") {
		t.Errorf("%v\n%s", state, out)
	}
}

func TestKernelDockerDefault(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the scenario has amd64's numbers")
	}
	playOK(t, "default", dockerDefault(t))
}

func TestKernelErrno(t *testing.T) {
	playOK(t, "errno", &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Flags:         []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"mkdir"}, Action: specs.ActErrno, ErrnoRet: errno(uint(unix.ENOTTY))},
			{Names: []string{"dup"}, Action: specs.ActErrno, ErrnoRet: errno(uint(unix.EXDEV)), Args: []specs.LinuxSeccompArg{{Op: specs.OpGreaterThan, Value: 1 << 32}}},
		},
	})
}

func TestKernelKill(t *testing.T) {
	for _, act := range []specs.LinuxSeccompAction{specs.ActKillProcess, specs.ActTrap} {
		cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"sysinfo"}, Action: act}}}
		out, state := child(t, "kill", cfg)
		if ws := state.Sys().(syscall.WaitStatus); act == specs.ActKillProcess && (!ws.Signaled() || ws.Signal() != unix.SIGSYS) {
			t.Errorf("%s: %v\n%s; want SIGSYS", act, state, out)
		}
		if act == specs.ActTrap && (state.Success() || !strings.Contains(out, "SIGSYS")) {
			t.Errorf("%s: %v\n%s; want a trap", act, state, out)
		}
	}
}

// TestKernelSurvivesExec: the filter of the locked thread is that of the
// program it becomes, and a kill of its only thread ends it.
func TestKernelSurvivesExec(t *testing.T) {
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip(err)
	}
	for _, act := range []specs.LinuxSeccompAction{specs.ActKill, specs.ActAllow} {
		cfg := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"clock_nanosleep", "nanosleep"}, Action: act}}}
		out, state := child(t, "exec", cfg)
		killed := state.Sys().(syscall.WaitStatus).Signaled()
		if killed != (act == specs.ActKill) {
			t.Errorf("%s: %v\n%s", act, state, out)
		}
	}
}

// TestWrongABI: a call of an ABI that the profile does not list kills.
func TestWrongABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("amd64 has several ABIs")
	}
	p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []data{{nr: 20, arch: unix.AUDIT_ARCH_I386}, {nr: x32Bit | 39, arch: unix.AUDIT_ARCH_X86_64}} {
		if got := run(t, p, d); got != unix.SECCOMP_RET_KILL_THREAD {
			t.Errorf("%+v: %#x; want kill", d, got)
		}
	}
}

func TestKernelNotify(t *testing.T) {
	cfg := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Flags:         []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"getpgid"}, Action: specs.ActNotify}},
	}
	playOK(t, "notify", cfg)
	playOK(t, "notify without listener", cfg)
}
