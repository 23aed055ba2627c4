package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/config"
	"github.com/gantry-run/gantry/internal/image"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Main runs the daemon until SIGTERM or SIGINT. args are the command line, for
// SIGHUP, which reads the configuration again.
func Main(cfg config.Config, args []string) (err error) {
	level := new(slog.LevelVar)
	log := cfg.Logger(os.Stderr, level)
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	if err := processWide(cfg, log); err != nil {
		return err
	}
	if err := ns.CoarseTimers(); err != nil {
		log.Warn("timers stay fine", "error", err)
	}
	var undo cleanup.Stack
	defer func() { err = errors.Join(err, undo.Run()) }()
	pid, err := config.WritePidFile(cfg.PidFile)
	if err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return pid.Close() })
	listeners, err := config.Listen(cfg)
	if err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return closeListeners(listeners) })
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)
	d, err := New(context.Background(), cfg, log)
	if err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return d.Stop() })
	served := make(chan error, 1)
	go func() { served <- d.Serve(listeners) }()
	if err := config.NotifyReady(); err != nil {
		log.Warn("tell the service manager that the daemon is ready", "error", err)
	}
	log.Info("daemon is ready")
	for {
		select {
		case err := <-served:
			return err
		case s := <-signals:
			if s != unix.SIGHUP {
				log.Info("daemon ends; containers keep running", "signal", s.String())
				return nil
			}
			d.reload(args, level)
		}
	}
}

// processWide sets what the libraries below read from the process.
func processWide(cfg config.Config, log *slog.Logger) error {
	image.RedirectLogs(log)
	env := map[string]string{
		// Layers are unpacked in parallel already; programs from $PATH would
		// only add processes.
		"CONTAINERD_DISABLE_PIGZ": "1", "CONTAINERD_DISABLE_IGZIP": "1",
	}
	for name, v := range map[string]string{"HTTP_PROXY": cfg.HTTPProxy, "HTTPS_PROXY": cfg.HTTPSProxy, "NO_PROXY": cfg.NoProxy} {
		if v != "" { // the configuration wins over the environment
			env[name], env[strings.ToLower(name)] = v, v
		}
	}
	for name, v := range env {
		if err := os.Setenv(name, v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func closeListeners(listeners []net.Listener) error {
	var all error
	for _, l := range listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// reload applies what of the configuration can change while the daemon runs.
func (d *Daemon) reload(args []string, level *slog.LevelVar) {
	next, changed, err := config.Reload(*d.live.Load(), args)
	if err != nil {
		d.log.Error("reload configuration; nothing is changed", "error", err)
		return
	}
	level.Set(next.Level())
	d.live.Store(&next)
	for _, w := range next.Warnings {
		d.log.Warn(w)
	}
	d.log.Info("configuration reloaded", "changed", changed)
}
