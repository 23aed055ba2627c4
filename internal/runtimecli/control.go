package runtimecli

import (
	"context"
	"flag"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
)

func setupKill(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var all bool
	f.BoolVar(&all, "all", false, "send the signal to all processes of the container")
	f.BoolVar(&all, "a", false, "short for --all")
	return func(ctx context.Context, args []string) (int, error) {
		name := "SIGTERM"
		if len(args) > 1 {
			name = args[1]
		}
		sig, err := parseSignal(name)
		if err != nil {
			return 1, err
		}
		c, err := a.runtime.Load(args[0])
		if err != nil {
			return 1, err
		}
		return 0, c.Signal(ctx, sig, all)
	}
}

// maxSignal is SIGRTMAX.
const maxSignal = 64

func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > maxSignal { // 0 asks whether there is somebody
			return 0, errs.New(errs.InvalidArgument, "invalid signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, errs.New(errs.InvalidArgument, "unknown signal %q", s)
}

func setupPause(a *app, _ *flag.FlagSet) func(context.Context, []string) (int, error) {
	return func(ctx context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err == nil {
			err = c.Pause(ctx)
		}
		return 0, err
	}
}

func setupResume(a *app, _ *flag.FlagSet) func(context.Context, []string) (int, error) {
	return func(ctx context.Context, args []string) (int, error) {
		c, err := a.runtime.Load(args[0])
		if err == nil {
			err = c.Resume(ctx)
		}
		return 0, err
	}
}
