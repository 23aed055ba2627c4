package container

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

const (
	createPrefix = "failed to create task for container: OCI runtime create failed: unable to start container process: "
	execPrefix   = "OCI runtime exec failed: exec failed: unable to start container process: "
	mountHint    = ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
)

// What a supervisor says becomes Docker's text, status and exit code.
func TestFailures(t *testing.T) {
	program := func(kind errs.Kind, text string) error { return &wire.ProgramError{Err: errs.New(kind, "%s", text)} }
	for _, s := range []struct {
		err        error
		kind       errs.Kind
		code, exec int
		text       string
		bare       bool // without the runtime's prefix
	}{
		{program(errs.NotFound, `exec: "x": executable file not found in $PATH`), errs.InvalidArgument, 127, 127, `exec: "x": executable file not found in $PATH: unknown`, false},
		{program(errs.Permission, `exec: "/x": permission denied`), errs.InvalidArgument, 126, 126, `exec: "/x": permission denied: unknown`, false},
		{program(errs.Permission, `exec: "/x": exec format error`), errs.InvalidArgument, 126, 126, `exec: "/x": exec format error: unknown`, false},
		{program(errs.Permission, `exec: "/f/x": stat /f/x: not a directory`), errs.InvalidArgument, 127, 127, `exec: "/f/x": stat /f/x: not a directory: unknown` + mountHint, false},
		{errs.New(errs.Internal, "error mounting: %w", unix.ENOENT), errs.InvalidArgument, 127, 127, "error mounting: no such file or directory: unknown", false},
		{errs.New(errs.InvalidArgument, "no room"), errs.Internal, 128, 128, "no room: unknown", false},
		{&wire.UserError{Err: errs.New(errs.InvalidArgument, "unable to find user x")}, errs.Internal, 128, 126, "unable to find user x", true},
		{errs.New(errs.Unavailable, "supervisor is gone"), errs.Unavailable, 128, 126, "supervisor is gone", true},
	} {
		for prefix, got := range map[string]error{createPrefix: startError(s.err), execPrefix: execError(s.err)} {
			code := s.code
			if prefix == execPrefix {
				code = s.exec
			}
			if s.bare {
				prefix = ""
			}
			if startExitCode(got) != code || errs.KindOf(got) != s.kind || got.Error() != prefix+s.text {
				t.Errorf("%v: got %d, %s, %q; want %d, %s, %q", s.err, startExitCode(got), errs.KindOf(got), got, code, s.kind, prefix+s.text)
			}
		}
	}
	if code := startExitCode(errors.New("no network")); code != 128 {
		t.Errorf("another error: code %d", code)
	}
}
