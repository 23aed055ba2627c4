// Package process starts, finds and stops a gantryd on this machine without a
// service manager. The daemon is known by who listens on its socket, so that
// no pid file has to be trusted.
//
// Asking the user belongs to package session, the commands to package daemon.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	binary = "gantryd"
	// DefaultExecRoot is where the daemon keeps what does not outlive a boot.
	DefaultExecRoot = "/run/gantry"
	// defaultSocket needs no --host.
	defaultSocket = DefaultExecRoot + "/gantry.sock"
	// startTimeout is long: a daemon with many containers after a crash cleans
	// up before it serves.
	startTimeout = 60 * time.Second
)

// Options say which daemon to start.
type Options struct {
	Socket string   // "": the default
	Args   []string // for gantryd
}

// Running is a daemon that listens.
type Running struct {
	Pid    int
	Socket string
	Log    string // of a daemon that Start started
}

// Path finds gantryd beside this executable, or in PATH.
func Path() (string, error) {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if p := filepath.Join(filepath.Dir(self), binary); isExecutable(p) {
			return p, nil
		}
	}
	return exec.LookPath(binary)
}

// Installed tells whether there is a gantryd to start.
func Installed() bool {
	_, err := Path()
	return err == nil
}

func isExecutable(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Find tells who listens on the socket. Nobody is fs.ErrNotExist.
func Find(socket string) (Running, error) {
	conn, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return Running{}, fmt.Errorf("find daemon on %s: %w", socket, fs.ErrNotExist)
		}
		return Running{}, fmt.Errorf("find daemon on %s: %w", socket, err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return Running{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return Running{}, fmt.Errorf("find daemon on %s: %w", socket, err)
	}
	return Running{Pid: int(cred.Pid), Socket: socket}, nil
}

// Start runs gantryd in a session of its own, with its output in a log file,
// and returns when it answers on the socket.
func Start(ctx context.Context, o Options) (Running, error) {
	if o.Socket == "" {
		o.Socket = defaultSocket
	}
	path, err := Path()
	if err != nil {
		return Running{}, fmt.Errorf("start daemon: %w", err)
	}
	logName := filepath.Join(DefaultExecRoot, binary+".log")
	args := o.Args
	if o.Socket != defaultSocket {
		args = append([]string{"--host", "unix://" + o.Socket}, args...)
		logName = filepath.Join(filepath.Dir(o.Socket), binary+".log")
	}
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o711); err != nil {
		return Running{}, fmt.Errorf("start daemon: %w", err)
	}
	logFile, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Running{}, fmt.Errorf("start daemon: %w", err)
	}
	defer logFile.Close()
	ready, err := newReady()
	if err != nil {
		return Running{}, fmt.Errorf("start daemon: %w", err)
	}
	defer ready.Close()

	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), ready.env())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Running{}, fmt.Errorf("start daemon: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return waitReady(ctx, o.Socket, logName, ready, exited)
}

func waitReady(ctx context.Context, socket, logName string, ready *ready, exited <-chan error) (Running, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-ready.told:
	case err := <-exited:
		if err == nil {
			err = errors.New("it ended at once")
		}
		return Running{}, fmt.Errorf("start daemon: %w; see %s", err, logName)
	case <-ctx.Done():
		return Running{}, fmt.Errorf("start daemon: it does not report that it serves; see %s", logName)
	}
	r, err := Find(socket)
	if err != nil {
		return Running{}, fmt.Errorf("start daemon: %w; see %s", err, logName)
	}
	r.Log = logName
	return r, nil
}

// Stop asks the daemon to end and waits until it has.
func Stop(ctx context.Context, r Running) error {
	fd, err := unix.PidfdOpen(r.Pid, 0)
	if err != nil {
		return fmt.Errorf("stop daemon %d: %w", r.Pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("stop daemon %d: %w", r.Pid, err)
	}
	for {
		timeout := -1
		if deadline, ok := ctx.Deadline(); ok {
			timeout = max(0, int(time.Until(deadline)/time.Millisecond))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("stop daemon %d: %w", r.Pid, err)
		case n == 0:
			return fmt.Errorf("stop daemon %d: it is still running: %w", r.Pid, context.DeadlineExceeded)
		}
		return nil
	}
}
