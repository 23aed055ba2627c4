package supervisor

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// ListenFD is the descriptor on which Main finds its listening socket: the
// daemon listens before it starts the supervisor, so it can dial at once.
const ListenFD = 3

// Main is `gantry-runtime supervise`. It returns the exit code.
func Main(args []string) int {
	fs := flag.NewFlagSet("supervise", flag.ContinueOnError)
	execRoot := fs.String("exec-root", "/run/gantry", "directory for volatile state")
	verbose := fs.Bool("debug", false, "log debug messages")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if err := serve(*execRoot, log); err != nil {
		log.Error("supervise", "error", err)
		return 1
	}
	return 0
}

func serve(execRoot string, log *slog.Logger) error {
	// A terminal's or the daemon's end must not end us. The signals are caught and
	// dropped, not ignored: containers would inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	// Orphans of containers in the host's pid namespace come to us, not to init.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	if err := ns.CoarseTimers(); err != nil {
		log.Warn("timers stay fine", "error", err)
	}
	debug.SetGCPercent(50) // small heap; memory counts more than the collector's time
	listener, path, err := fd.Listening(ListenFD)
	if err != nil {
		return err
	}
	s, err := New(Options{ExecRoot: execRoot, Listener: listener, Path: path, Log: log})
	if err != nil {
		return err
	}
	return s.Serve()
}
