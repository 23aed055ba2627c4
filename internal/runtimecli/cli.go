// Package runtimecli is the command line of the OCI runtime, which is runc's:
// the same verbs, flags, outputs and exit codes, so that tools made for runc
// drive it. It translates between flags and package oci and holds no rules of
// its own. The standard flag package serves, as it costs nothing at start.
package runtimecli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/oci"
)

// Name is how the program calls itself: runc if it is installed by that name, which
// scripts look for in what it says.
var Name = programName()

func programName() string {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == "runc" {
		return "runc"
	}
	return "gantry-runtime"
}

// defaultRoot is where state lives if --root says nothing.
func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && ns.Rootless() {
		return filepath.Join(dir, "gantry/runtime")
	}
	return "/run/gantry/runtime"
}

// app is one invocation.
type app struct {
	stdin          *os.File
	stdout, stderr io.Writer

	root, logPath, logFormat, rootless string
	criu                               string
	debug, systemdCgroup, rootGiven    bool

	log     *slog.Logger
	logFile *os.File
	runtime *oci.Runtime
}

// command is one verb.
type command struct {
	name, args, brief string
	minArgs, maxArgs  int // maxArgs < 0: any number
	// setup declares the flags and returns what runs after parsing. The result
	// is the exit code.
	setup func(a *app, f *flag.FlagSet) func(ctx context.Context, args []string) (int, error)
}

// commands lists the verbs in the order of the help text.
func commands() []command {
	return []command{
		{"checkpoint", "<container-id>", "checkpoint a running container", 1, 1, setupCheckpoint},
		{"create", "<container-id>", "create a container", 1, 1, setupCreate},
		{"delete", "<container-id>", "delete any resources held by the container", 1, 1, setupDelete},
		{"events", "<container-id>", "display container events and statistics", 1, 1, setupEvents},
		{"exec", "<container-id> <command> [args...] | -p process.json <container-id>", "execute new process inside the container", 1, -1, setupExec},
		{"features", "", "show the enabled features", 0, 0, setupFeatures},
		{"kill", "<container-id> [signal]", "send a signal (default SIGTERM) to the container's init process", 1, 2, setupKill},
		{"list", "", "list containers started with the given --root", 0, 0, setupList},
		{"pause", "<container-id>", "suspend all processes inside the container", 1, 1, setupPause},
		{"ps", "<container-id> [ps options]", "display the processes running inside a container", 1, -1, setupPs},
		{"restore", "<container-id>", "restore a container from a previous checkpoint", 1, 1, setupRestore},
		{"resume", "<container-id>", "resume all processes that have been paused", 1, 1, setupResume},
		{"run", "<container-id>", "create and run a container", 1, 1, setupRun},
		{"spec", "", "create a new specification file", 0, 0, setupSpec},
		{"start", "<container-id>", "execute the user defined process in a created container", 1, 1, setupStart},
		{"state", "<container-id>", "output the state of a container", 1, 1, setupState},
		{"update", "<container-id>", "update container resource constraints", 1, 1, setupUpdate},
	}
}

// Main runs one command line (without the program's name) and returns the exit
// code: the container's own for run and exec in the foreground.
func Main(args []string) int {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	code, err := a.run(context.Background(), args)
	if errors.Is(err, flag.ErrHelp) {
		code, err = 0, nil
	}
	if err != nil {
		a.report(err)
	}
	if a.logFile != nil {
		_ = a.logFile.Close() // nothing more can be said where
	}
	return code
}

func (a *app) run(ctx context.Context, args []string) (int, error) {
	f := a.flags(Name)
	f.StringVar(&a.root, "root", defaultRoot(), "root directory for storage of container state")
	f.StringVar(&a.logPath, "log", "", "file to write the log to (default: standard error)")
	f.StringVar(&a.logFormat, "log-format", "text", "format of the log: text or json")
	f.BoolVar(&a.debug, "debug", false, "log more")
	f.BoolVar(&a.systemdCgroup, "systemd-cgroup", false, "use systemd to manage cgroups")
	f.StringVar(&a.rootless, "rootless", "auto", "ignore cgroup permission errors: true, false or auto")
	f.StringVar(&a.criu, "criu", "", "path to the criu program (default: criu in PATH)")
	version := f.Bool("version", false, "print the version")
	f.BoolVar(version, "v", false, shortFor+"version")
	f.Usage = func() {}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			a.usage(f)
		}
		return 1, err
	}
	if *version {
		printVersion(a.stdout)
		return 0, nil
	}
	args = f.Args()
	if len(args) > 0 && (args[0] == "help" || args[0] == "h") {
		if args = args[1:]; len(args) > 0 {
			args = []string{args[0], "--help"}
		}
	}
	if len(args) == 0 {
		a.usage(f)
		return 0, nil
	}
	if err := a.openLog(); err != nil {
		return 1, err
	}
	f.Visit(func(f *flag.Flag) { a.rootGiven = a.rootGiven || f.Name == "root" })
	for _, c := range commands() {
		if c.name == args[0] {
			return a.runCommand(ctx, c, args[1:])
		}
	}
	return 3, errs.New(errs.InvalidArgument, "No help topic for '%s'", args[0]) // runc's code and words
}

func (a *app) runCommand(ctx context.Context, c command, args []string) (int, error) {
	f := a.flags(c.name)
	f.Usage = func() {}
	action := c.setup(a, f)
	args, err := parseMixed(f, args, c.maxArgs < 0)
	if errors.Is(err, flag.ErrHelp) {
		a.commandUsage(c, f)
	}
	if err != nil {
		return 1, err
	}
	if n := len(args); n < c.minArgs || c.maxArgs >= 0 && n > c.maxArgs {
		return 1, errs.New(errs.InvalidArgument, "%s: %q takes %s, got %d", Name, c.name, argCount(c), n)
	}
	root, err := filepath.Abs(a.root)
	if err != nil {
		return 1, err
	}
	o := oci.Options{Root: root, SystemdCgroup: a.systemdCgroup, Log: a.log, OneShot: true}
	if a.rootless != "auto" {
		rootless, err := strconv.ParseBool(a.rootless)
		if err != nil {
			return 1, errs.New(errs.InvalidArgument, "invalid --rootless: %q is none of true, false and auto", a.rootless)
		}
		o.Rootless = &rootless
	}
	a.runtime, err = oci.New(o)
	if err != nil {
		return 1, err
	}
	a.log.Debug("command begins", "command", c.name, "arguments", args, "root", root)
	code, err := action(ctx, args)
	a.log.Debug("command ends", "command", c.name, "code", code)
	if err != nil && code == 0 {
		code = 1
	}
	return code, err
}

// parseMixed parses flags and gives the other arguments. Flags may come after them, as
// in "update <container-id> --memory 1g", unless what follows the first is another
// program's; after -- there are none.
func parseMixed(f *flag.FlagSet, args []string, program bool) ([]string, error) {
	var others []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		rest := f.Args()
		if end := len(args) - len(rest); program || len(rest) == 0 || end > 0 && args[end-1] == "--" {
			return append(others, rest...), nil
		}
		others, args = append(others, rest[0]), rest[1:]
	}
}

func argCount(c command) string {
	switch {
	case c.minArgs == c.maxArgs:
		return fmt.Sprintf("exactly %d argument(s)", c.minArgs)
	case c.maxArgs < 0:
		return fmt.Sprintf("a minimum of %d argument(s)", c.minArgs)
	}
	return fmt.Sprintf("%d to %d arguments", c.minArgs, c.maxArgs)
}

// flags makes a flag set that reports errors instead of exiting.
func (a *app) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// openLog sets the log up. Callers of runc read its JSON form: lower-case
// levels and RFC 3339 times.
func (a *app) openLog() error {
	out := a.stderr
	if a.logPath != "" {
		file, err := os.OpenFile(a.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		a.logFile, out = file, file
	}
	o := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: runcAttr}
	if a.debug {
		o.Level = slog.LevelDebug
	}
	switch a.logFormat {
	case "json":
		a.log = slog.New(slog.NewJSONHandler(out, o))
	case "text", "":
		a.log = slog.New(slog.NewTextHandler(out, o))
	default:
		return errs.New(errs.InvalidArgument, "invalid log-format: %s", a.logFormat)
	}
	return nil
}

func runcAttr(_ []string, attr slog.Attr) slog.Attr {
	switch attr.Key {
	case slog.LevelKey:
		level := strings.ToLower(attr.Value.String())
		if level == "warn" {
			level = "warning"
		}
		return slog.String(slog.LevelKey, level)
	case slog.TimeKey:
		return slog.String(slog.TimeKey, attr.Value.Time().Format(time.RFC3339))
	}
	return attr
}

// report tells of the failure: in the log, and on standard error if the log is
// elsewhere.
func (a *app) report(err error) {
	if a.log != nil {
		a.log.Error(err.Error())
	}
	if a.log == nil || a.logFile != nil {
		_, _ = fmt.Fprintln(a.stderr, err) // the last resort itself
	}
}

// explain puts runc's words before an error of starting a process.
func explain(verb string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*oci.ExecError](err); ok || strings.HasPrefix(err.Error(), "chdir to cwd") {
		err = fmt.Errorf("unable to start container process: %w", err)
	}
	return fmt.Errorf("%s failed: %w", verb, err)
}
