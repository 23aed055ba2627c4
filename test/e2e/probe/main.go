// The settings keep the Go runtime from opening the cgroup's CPU limits, which
// would show among the descriptors.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command probe is what test containers run where busybox has no applet: it
// serves HTTP, tries system calls that a container must not have, lists leaked
// file descriptors, makes and checks streams of bytes, and echoes signals.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: probe serve|get|udp|bytes|sum|fds|try|socket|signals|tick|project [argument]"))
	}
	arg := ""
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(arg)
	case "get":
		err = get(arg)
	case "udp":
		err = udp(arg)
	case "bytes":
		err = emit(arg)
	case "sum":
		err = sum()
	case "fds":
		err = fds()
	case "try":
		try()
	case "socket":
		err = socket(arg)
	case "signals":
		signals()
	case "project":
		err = leaveProject(arg)
	case "tick":
		for n := range time.Tick(20 * time.Millisecond) {
			fmt.Println(n.UnixNano())
		}
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

// socket opens a socket of an address family, by its number in linux/socket.h.
func socket(family string) error {
	number, err := strconv.Atoi(family)
	if err != nil {
		return err
	}
	s, err := unix.Socket(number, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return unix.Close(s)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

// serve answers every HTTP request with the host's name and the peer's address.
func serve(addr string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s %s\n", host, peer, r.URL.Path)
	}))
}

// get prints what an HTTP server answers.
func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// udp sends each datagram back.
func udp(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

// emit writes n bytes that depend on n only.
func emit(count string) error {
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return err
	}
	_, err = io.CopyN(os.Stdout, rand.NewChaCha8([32]byte{}), n)
	return err
}

// sum reads standard input to its end and prints length and SHA-256.
func sum() error {
	h := sha256.New()
	n, err := io.Copy(h, os.Stdin)
	if err != nil {
		return err
	}
	fmt.Printf("%d %x\n", n, h.Sum(nil))
	return nil
}

// fds prints what is open beyond the standard streams, apart from Go's poller
// and the directory being read.
func fds() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n <= 2 {
			continue
		}
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") || strings.HasSuffix(target, "/fd") {
			continue
		}
		fmt.Printf("%d %s\n", n, target)
	}
	return nil
}

// try makes system calls and prints how each ended.
func try() {
	report := func(name string, errno error) {
		result := "allowed"
		if e, ok := errors.AsType[syscall.Errno](errno); ok && e != 0 {
			result = unix.ErrnoName(e)
		}
		fmt.Println(name, result)
	}
	raw := func(name string, nr uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		report(name, e)
	}
	raw("unshare-user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	raw("unshare-net", unix.SYS_UNSHARE, unix.CLONE_NEWNET)
	raw("keyctl", unix.SYS_KEYCTL, 0, ^uintptr(2)) // KEYCTL_GET_KEYRING_ID of the session keyring, -3
	raw("add_key", unix.SYS_ADD_KEY)
	raw("bpf", unix.SYS_BPF)
	raw("perf_event_open", unix.SYS_PERF_EVENT_OPEN)
	raw("userfaultfd", unix.SYS_USERFAULTFD)
	raw("reboot", unix.SYS_REBOOT)
	raw("kexec_load", unix.SYS_KEXEC_LOAD)
	raw("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT)
	raw("init_module", unix.SYS_INIT_MODULE)
	raw("swapon", unix.SYS_SWAPON)
	raw("settimeofday", unix.SYS_SETTIMEOFDAY)
	report("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	report("umount", unix.Unmount("/proc", unix.MNT_DETACH))
	report("sethostname", unix.Sethostname([]byte("x")))
	report("mknod-disk", unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))))
	report("read-disk", readDevice("/tmp/disk"))
	report("write-sysrq", os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0))
	report("write-sys", os.WriteFile("/proc/sys/kernel/panic", []byte("0"), 0))
}

func readDevice(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 512))
	return err
}

// signals prints the signals that arrive and ends on SIGTERM with code 0.
func signals() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGQUIT, syscall.SIGWINCH)
	fmt.Println("ready")
	for {
		select {
		case s := <-c:
			fmt.Println("got", unix.SignalName(s.(syscall.Signal)))
			if s == syscall.SIGTERM {
				return
			}
		case <-time.After(time.Minute):
			return
		}
	}
}

// leaveProject takes a file out of the project whose quota bounds it.
func leaveProject(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	attributes := make([]byte, 28)                              // struct fsxattr of linux/fs.h
	for _, command := range []uintptr{0x801c581f, 0x401c5820} { // FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
		if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), command, uintptr(unsafe.Pointer(&attributes[0]))); no != 0 {
			return no
		}
		copy(attributes[12:16], make([]byte, 4)) // fsx_projid
	}
	return nil
}
