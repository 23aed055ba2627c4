package runtimecli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/oci"
	"github.com/gantry-run/gantry/internal/oci/specjson"
)

// list collects the values of a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type execFlags struct {
	process, cwd, user, pidFile, pidfdSocket, consoleSocket, appArmor, processLabel string
	env, caps, gids, cgroup                                                         list
	tty, detach, ignorePaused                                                       bool
	noNewPrivs                                                                      *bool
	preserveFDs                                                                     int
}

func setupExec(a *app, f *flag.FlagSet) func(context.Context, []string) (int, error) {
	var e execFlags
	both := func(long, short string, declare func(name, usage string), usage string) {
		declare(long, usage)
		declare(short, shortFor+long)
	}
	both("process", "p", func(n, u string) { f.StringVar(&e.process, n, "", u) }, "path to the process.json")
	both("env", "e", func(n, u string) { f.Var(&e.env, n, u) }, "set environment variables")
	both("tty", "t", func(n, u string) { f.BoolVar(&e.tty, n, false, u) }, "allocate a pseudo-TTY")
	both("user", "u", func(n, u string) { f.StringVar(&e.user, n, "", u) }, "UID (format: <uid>[:<gid>])")
	both("additional-gids", "g", func(n, u string) { f.Var(&e.gids, n, u) }, "additional gids")
	both("detach", "d", func(n, u string) { f.BoolVar(&e.detach, n, false, u) }, "detach from the process")
	both("cap", "c", func(n, u string) { f.Var(&e.caps, n, u) }, "add a capability to the bounding set for the process")
	f.StringVar(&e.cwd, "cwd", "", "current working directory in the container")
	f.StringVar(&e.pidFile, "pid-file", "", "file to write the process id to")
	f.StringVar(&e.pidfdSocket, "pidfd-socket", "", "path to an AF_UNIX socket which receives a pidfd of the process")
	f.StringVar(&e.consoleSocket, "console-socket", "", "path to an AF_UNIX socket which receives the terminal's master")
	f.StringVar(&e.processLabel, "process-label", "", "SELinux label of the process")
	f.StringVar(&e.appArmor, "apparmor", "", "AppArmor profile of the process")
	f.IntVar(&e.preserveFDs, "preserve-fds", 0, "pass N additional file descriptors to the container")
	f.BoolVar(&e.ignorePaused, "ignore-paused", false, "allow exec in a paused container")
	f.Var(&e.cgroup, "cgroup", "run the process in an (existing) sub-cgroup")
	f.BoolFunc("no-new-privs", "set the no new privileges value for the process", func(s string) error {
		v, err := strconv.ParseBool(s)
		e.noNewPrivs = &v
		return err
	})
	return func(ctx context.Context, args []string) (int, error) {
		code, err := a.exec(ctx, args, e)
		if err != nil {
			code = 255 // as runc, so that callers tell it from the program's own
		}
		return code, explain("exec", err)
	}
}

func (a *app) exec(ctx context.Context, args []string, e execFlags) (int, error) {
	c, err := a.runtime.Load(args[0])
	if err != nil {
		return 1, err
	}
	process, err := e.describe(c, args[1:])
	if err != nil {
		return 1, err
	}
	if err := checkConsole(process.Terminal, e.detach, e.consoleSocket); err != nil {
		return 1, err
	}
	o := oci.ExecOptions{
		Process: process, ConsoleSocket: e.consoleSocket, KeepLineEnds: e.consoleSocket == "", IgnorePaused: e.ignorePaused,
		IO: oci.IO{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
	}
	if o.Cgroups, err = subCgroups(e.cgroup); err != nil {
		return 1, err
	}
	if o.PreserveFDs, err = preserved(e.preserveFDs, &process.Env); err != nil {
		return 1, err
	}
	signals, err := catchSignals(e.detach)
	if err != nil {
		return 1, err
	}
	p, err := c.Exec(ctx, o)
	if err != nil {
		return 1, err
	}
	if err := announce(p, "setns", e.pidFile, e.pidfdSocket); err != nil {
		return 1, errors.Join(err, end(p))
	}
	if e.detach {
		return 0, nil
	}
	return a.foreground(p, signals)
}

// subCgroups reads [controller,…:]path. There may be several, if each has other
// controllers; without controllers a path counts in all hierarchies.
func subCgroups(values []string) (map[string]string, error) {
	all := map[string]string{}
	for _, v := range values {
		controllers, path, ok := strings.Cut(v, ":")
		if !ok {
			if len(values) > 1 {
				return nil, errs.New(errs.InvalidArgument, "invalid --cgroup argument: %s (missing <controller>: prefix)", v)
			}
			return map[string]string{"": v}, nil
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			if controller == "" {
				return nil, errs.New(errs.InvalidArgument, "invalid --cgroup argument: %s (empty <controller> prefix)", v)
			}
			if _, ok := all[controller]; ok {
				return nil, errs.New(errs.InvalidArgument, "invalid --cgroup argument(s): controller %s specified multiple times", controller)
			}
			all[controller] = path
		}
	}
	return all, nil
}

// describe makes the process: from a file, or from the container's own with
// what the flags say.
func (e *execFlags) describe(c *oci.Container, args []string) (*specs.Process, error) {
	if e.process != "" {
		data, err := os.ReadFile(e.process)
		if err != nil {
			return nil, err
		}
		return specjson.DecodeProcess(data)
	}
	if len(args) == 0 {
		return nil, errs.New(errs.InvalidArgument, "process args cannot be empty")
	}
	spec, err := oci.LoadSpec(c.Bundle())
	if err != nil {
		return nil, err
	}
	if spec.Process == nil {
		return nil, errors.New("the bundle describes no process")
	}
	p := spec.Process
	p.Args, p.Terminal = args, e.tty
	p.Env = append(p.Env, e.env...)
	if e.cwd != "" {
		p.Cwd = e.cwd
	}
	if e.appArmor != "" {
		p.ApparmorProfile = e.appArmor
	}
	if e.processLabel != "" {
		p.SelinuxLabel = e.processLabel
	}
	if e.noNewPrivs != nil {
		p.NoNewPrivileges = *e.noNewPrivs
	}
	e.addCaps(p)
	return p, e.setUser(p)
}

// addCaps adds to the sets that matter, never to the inheritable one
// (CVE-2022-29162).
func (e *execFlags) addCaps(p *specs.Process) {
	if len(e.caps) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	for _, name := range e.caps {
		p.Capabilities.Bounding = append(p.Capabilities.Bounding, name)
		p.Capabilities.Effective = append(p.Capabilities.Effective, name)
		p.Capabilities.Permitted = append(p.Capabilities.Permitted, name)
		if p.Capabilities.Inheritable != nil { // no ambient capability without
			p.Capabilities.Ambient = append(p.Capabilities.Ambient, name)
		}
	}
}

func (e *execFlags) setUser(p *specs.Process) error {
	if e.user != "" {
		uid, gid, err := parseUser(e.user)
		if err != nil {
			return err
		}
		p.User.UID = uid
		if gid != nil {
			p.User.GID = *gid
		}
	}
	for _, text := range e.gids {
		gid, err := parseID(text)
		if err != nil {
			return errs.New(errs.InvalidArgument, "additional gid: %w", err)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, gid)
	}
	return nil
}

// parseUser reads <uid>[:<gid>]; both are numbers and nothing else, so that no
// text is ever taken for user 0.
func parseUser(s string) (uid uint32, gid *uint32, err error) {
	left, right, both := strings.Cut(s, ":")
	if uid, err = parseID(left); err != nil {
		return 0, nil, errs.New(errs.InvalidArgument, "parsing uid: %w", err)
	}
	if !both {
		return uid, nil, nil
	}
	g, err := parseID(right)
	if err != nil {
		return 0, nil, errs.New(errs.InvalidArgument, "parsing gid: %w", err)
	}
	return uid, &g, nil
}

// parseID reads a decimal id up to 2^32-2: the last one means "no change" to
// the kernel.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && uint32(n) == ^uint32(0) {
		err = fmt.Errorf("id %s is out of range", s)
	}
	return uint32(n), err
}
