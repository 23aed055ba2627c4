package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Namespace selects what a sandbox has of its own.
type Namespace uint

// The namespaces a sandbox can have. Mount is implied by the other two, since
// /sys and /proc show the namespaces of whoever mounted them.
const (
	// Mount gives private mounts and an empty /run.
	Mount Namespace = 1 << iota
	// Net gives an empty network namespace with the loopback up.
	Net
	// PID gives a process namespace with an init that reaps orphans. All that
	// the tests start dies with it.
	PID
)

// Options say how a test binary runs.
type Options struct {
	Namespaces Namespace
	// Gates are checked after the last test.
	Gates []Gate
	// Setup runs inside the sandbox before the first test; the function that
	// it returns after the last one, before the gates are checked.
	Setup func() (teardown func() error, err error)
	// After runs outside the sandbox once everything inside is gone, whatever
	// way it went: for what namespaces do not take along, such as cgroups.
	// Without root there is no sandbox and After is not called.
	After func() error
}

// stageEnv tells a re-executed test binary which part it plays.
const stageEnv = "GANTRY_TESTENV_STAGE"

const (
	stageInit = "init" // first process of the sandbox: mounts, reaping
	stageRun  = "run"  // the tests themselves
)

// Main runs the tests of a binary and exits the process. Call it last in
// TestMain. Without root there is no sandbox: the tests run in place and those
// that need root skip themselves with Need.
func Main(m *testing.M, o Options) {
	stage := os.Getenv(stageEnv)
	switch {
	case stage == stageInit:
		os.Exit(runInit(o.Namespaces))
	case stage == stageRun || o.Namespaces == 0 || os.Geteuid() != 0:
		os.Exit(runTests(m, o))
	default:
		code := enter(o.Namespaces)
		if o.After != nil {
			if err := o.After(); err != nil {
				fmt.Fprintln(os.Stderr, "testenv:", err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}
}

// InSandbox tells whether the process runs inside a sandbox that Main made.
func InSandbox() bool { return os.Getenv(stageEnv) == stageRun }

func runTests(m *testing.M, o Options) int {
	before, err := snapshot(o.Gates)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	var teardown func() error
	if o.Setup != nil {
		if teardown, err = o.Setup(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv: set up:", err)
			return 1
		}
	}
	code := m.Run()
	if teardown != nil {
		if err := teardown(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv: tear down:", err)
			code = max(code, 1)
		}
	}
	if err := before.check(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	return code
}

// enter re-executes the test binary as the init of new namespaces and returns
// its exit code. The init is killed when this process dies.
func enter(ns Namespace) int {
	runtime.LockOSThread() // Pdeathsig fires when the starting thread ends
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageEnv+"="+stageInit)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	flags := uintptr(syscall.CLONE_NEWNS)
	if ns&Net != 0 {
		flags |= syscall.CLONE_NEWNET
	}
	if ns&PID != 0 {
		flags |= syscall.CLONE_NEWPID
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: start sandbox:", err)
		return 1
	}
	stop := forward(func(s os.Signal) { _ = cmd.Process.Signal(s) }) // gone already: Wait tells
	defer stop()
	err := cmd.Wait()
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "testenv: sandbox:", err)
	return 1
}

// runInit is the first process of the sandbox. It mounts what shows the
// namespaces, starts the tests and reaps until they end.
func runInit(ns Namespace) int {
	if err := mountSandbox(ns); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: set up sandbox:", err)
		return 1
	}
	env := []string{stageEnv + "=" + stageRun}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, stageEnv+"=") {
			env = append(env, kv)
		}
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	child, err := os.StartProcess(exe, os.Args, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv: start tests:", err)
		return 1
	}
	stop := forward(func(s os.Signal) { _ = syscall.Kill(child.Pid, s.(syscall.Signal)) }) // gone: reap tells
	defer stop()
	return reap(child.Pid)
}

// reap collects every orphan of the sandbox until pid ends, and returns pid's
// exit code in the shell's way.
func reap(pid int) int {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "testenv: wait for tests:", err)
			return 1
		case got == pid && status.Signaled():
			return 128 + int(status.Signal())
		case got == pid:
			return status.ExitStatus()
		}
	}
}

// forward hands the signals that end a test run on to fn.
func forward(fn func(os.Signal)) (stop func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range c {
			fn(s)
		}
	}()
	return func() { signal.Stop(c); close(c); <-done }
}
