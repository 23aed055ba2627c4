package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/process"
	"github.com/gantry-run/gantry/internal/oci/plan"
)

// awaitStart reports readiness to create and waits on the listening socket for
// whoever calls start; from then on that caller is the parent to report to.
// Run has no such pause.
func (b *initializer) awaitStart() error {
	if listener := b.plan.FDs.Listener; listener > 0 {
		if err := fd.WriteFrame(b.sock, fd.Frame{Kind: FrameReady}); err != nil {
			return err
		}
		fd.Close(b.sock)
		conn, err := accept(listener)
		if err != nil {
			return fmt.Errorf("wait for start: %w", err)
		}
		fd.Close(listener)
		b.sock = conn
	}
	hooks := slices.Clone(b.plan.Hooks.StartContainer)
	for i := range hooks {
		if len(hooks[i].Env) == 0 { // the specification is silent; with runc it is the program's
			hooks[i].Env = b.environment()
		}
	}
	return b.runHooks("startContainer", hooks)
}

func accept(listener int) (int, error) {
	for {
		conn, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
			return -1, err
		}
	}
}

// runHooks runs hooks inside the container's namespaces.
func (b *initializer) runHooks(point string, hooks []plan.Hook) error {
	if len(hooks) == 0 {
		return nil
	}
	state, err := plan.StateWithPid(b.plan.Hooks.State, os.Getpid())
	if err != nil {
		return err
	}
	for i, h := range hooks {
		if err := process.RunHook(h.Path, h.Args, h.Env, state, h.Timeout); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", point, i, err)
		}
	}
	return nil
}
