package process

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// maxHookOutput bounds what is kept of a hook's error output for the message.
const maxHookOutput = 4 << 10

// RunHook runs a program with input on its standard input, in the namespaces of
// the calling thread, and waits for it. timeout is in seconds, 0 for none; a
// hook that takes longer is killed. args[0] is the name that the program sees.
func RunHook(program string, args, env []string, input []byte, timeout int) error {
	if len(args) == 0 {
		args = []string{program}
	}
	in, err := inputFile(input)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // memory only
	out, err := inputFile(nil)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // memory only
	null, err := fd.DevNull()
	if err != nil {
		return err
	}
	pidfd := -1
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{
		Env: env, Files: []uintptr{in.Fd(), null.Fd(), out.Fd()}, Sys: &syscall.SysProcAttr{PidFD: &pidfd},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	defer fd.Close(pidfd)
	return waitHook(program, pid, pidfd, timeout, out)
}

func waitHook(program string, pid, pidfd, timeout int, out *os.File) error {
	limit := time.Duration(-1)
	if timeout > 0 {
		limit = time.Duration(timeout) * time.Second
	}
	ended, err := ns.WaitExit(pidfd, limit)
	if err != nil {
		return err
	}
	if !ended {
		if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
			return fmt.Errorf("kill %s: %w", program, err)
		}
	}
	var status unix.WaitStatus
	for {
		_, err = unix.Wait4(pid, &status, 0, nil)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case !ended:
		return fmt.Errorf("%s ran past specified timeout of %.1fs", program, limit.Seconds())
	case err == unix.ECHILD: // a parent that reaps everything was faster; the status is lost
		return nil
	case err != nil:
		return fmt.Errorf("wait for %s: %w", program, err)
	case status.Signaled():
		return fmt.Errorf("%s: signal: %v%s", program, status.Signal(), tail(out))
	case status.ExitStatus() != 0:
		return fmt.Errorf("%s: exit status %d%s", program, status.ExitStatus(), tail(out))
	}
	return nil
}

func tail(out *os.File) string {
	buf := make([]byte, maxHookOutput)
	n, _ := out.ReadAt(buf, 0) // io.EOF is what a short output gives
	if text := bytes.TrimSpace(buf[:n]); len(text) > 0 {
		return ", stderr: " + string(text)
	}
	return ""
}

// inputFile is an anonymous file with the given content, read from its start.
func inputFile(content []byte) (*os.File, error) {
	h, err := unix.MemfdCreate("hook", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create hook's file: %w", err)
	}
	f := os.NewFile(uintptr(h), "hook")
	if _, err := f.WriteAt(content, 0); err != nil {
		_ = f.Close() // memory only
		return nil, fmt.Errorf("create hook's file: %w", err)
	}
	return f, nil
}
