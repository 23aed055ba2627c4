package container

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// The exit codes of a process that could not be started.
const (
	codeNotExecutable = 126 // or an exec that did not come as far as the runtime
	codeNotFound      = 127 // something that the command line names is missing
	codeNotStarted    = 128 // anything else
)

// failure is a process that was not started: worded as Docker does, since
// scripts and clients look for these texts, and with the exit code that Docker
// records for it.
type failure struct {
	err  error
	code int
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// startError describes a start that the supervisor refused.
func startError(err error) error {
	if kind := errs.KindOf(err); kind == errs.Unavailable || kind == errs.Conflict {
		return err // the supervisor, not the runtime
	}
	if isUserError(err) {
		return &failure{errs.New(errs.Internal, "%s", err), codeNotStarted}
	}
	return runtimeFailure("failed to create task for container: OCI runtime create failed: unable to start container process: ", err)
}

// execError is startError for an exec.
func execError(err error) error {
	if errs.Is(err, errs.Unavailable) {
		return &failure{err, codeNotExecutable}
	}
	if isUserError(err) {
		return &failure{errs.New(errs.Internal, "%s", err), codeNotExecutable}
	}
	return runtimeFailure("OCI runtime exec failed: exec failed: unable to start container process: ", err)
}

// errRelativeDir is an exec with a relative working directory, which the runtime
// refuses before there is a process.
var errRelativeDir = &failure{errs.New(errs.Internal, "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown"), codeNotStarted}

// isUserError tells whether the user or a group is what is wrong: the engine,
// not the runtime, is then supposed to have found out.
func isUserError(err error) bool {
	_, ok := errors.AsType[*wire.UserError](err)
	return ok
}

func runtimeFailure(prefix string, err error) *failure {
	code, hint := runtimeCode(err)
	kind := errs.InvalidArgument // the command line's fault
	if code == codeNotStarted {
		kind = errs.Internal
	}
	return &failure{errs.New(kind, "%s%w: unknown%s", prefix, err, hint), code}
}

// runtimeCode gives the exit code of what a runtime says, and what Docker adds
// to it. The reason is known by its text where it has no kind, as to every
// client of Docker's.
func runtimeCode(err error) (code int, hint string) {
	text := err.Error()
	has := func(no unix.Errno) bool { return strings.Contains(text, no.Error()) }
	switch {
	case has(unix.EACCES), has(unix.EISDIR):
		return codeNotExecutable, ""
	case has(unix.ENOTDIR):
		return codeNotFound, ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
	case has(unix.ENOENT), errs.Is(err, errs.NotFound):
		return codeNotFound, ""
	case errs.Is(err, errs.Permission):
		return codeNotExecutable, ""
	}
	return codeNotStarted, ""
}

// startExitCode is the exit code of a container that could not be started.
func startExitCode(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return codeNotStarted
}
