package daemon

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

	"github.com/gantry-run/gantry/internal/supervisor/client"
)

// supervisorSocket is below the exec root. It is a path, never an abstract
// socket, which a container on the host's network could reach (CVE-2020-15257).
const supervisorSocket = "supervisor.sock"

// spawner starts the supervisor when none answers.
type spawner struct {
	execRoot string
	binary   string // gantry-runtime
	debug    bool
	client   *client.Client
}

// ensure returns when a supervisor answers. One that an earlier daemon started
// is taken over with its containers.
func (s *spawner) ensure(ctx context.Context) error {
	if s.client.Ping(ctx) == nil {
		return nil
	}
	if err := s.spawn(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	return s.client.Ping(ctx) // waits in the socket's backlog until the supervisor accepts
}

// spawn hands the supervisor a socket that listens already, so that nobody has
// to wait for it to appear. The supervisor is no child that ends with us: it has
// a session of its own and its output goes to a file.
func (s *spawner) spawn() error {
	path := filepath.Join(s.execRoot, supervisorSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // it lives on in the supervisor
	defer l.Close()           //nolint:errcheck // our copy only
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // our copy only
	log, err := os.OpenFile(filepath.Join(s.execRoot, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the supervisor writes it
	args := []string{"supervise", "--exec-root", s.execRoot}
	if s.debug {
		args = append(args, "--debug")
	}
	cmd := exec.Command(s.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{f} // becomes supervisor.ListenFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() //nolint:errcheck // only to reap it, should it end before us
	return nil
}

// runtimeBinary finds gantry-runtime beside our own executable, else on PATH.
func runtimeBinary() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("locate own executable: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "gantry-runtime")
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return beside, nil
	}
	path, err := exec.LookPath("gantry-runtime")
	if err != nil {
		return "", fmt.Errorf("find gantry-runtime beside %s or on PATH: %w", self, err)
	}
	return path, nil
}
