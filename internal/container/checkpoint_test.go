package container

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/supervisor/wire"
)

// dumped makes of a wire.Dump what a supervisor would.
func dumped(t *testing.T, d wire.Dump) {
	t.Helper()
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, checkpointConfigFile), d.Config, 0o600); err != nil {
		t.Error(err)
	}
}

// TestCheckpointEndsRun: it ends without a restart, also for the next daemon, and
// starts again with its addresses.
func TestCheckpointEndsRun(t *testing.T) {
	sup := &fakeSupervisor{}
	s, c := newService(t, sup, func(r *record) {
		always(container.StateRunning)(r)
		r.Endpoints = map[string]*networktypes.EndpointSettings{"bridge": {IPAddress: netip.MustParseAddr("10.0.0.7")}}
	})
	exited := make(chan struct{})
	c.exited = exited
	sup.dump = func(d wire.Dump) error {
		dumped(t, d)
		go s.onExit(c, wire.Exit{Code: 137, At: time.Now(), Dumped: true}) // waits for the op lock
		return nil
	}
	k := engine.Checkpoint{Name: "one"}
	if err := s.Checkpoint(t.Context(), "x", k, false); err != nil {
		t.Fatal(err)
	}
	if r := c.view(); r.State.Status != container.StateExited || !s.saved(t, c).StoppedByAPI {
		t.Errorf("it is %s", r.State.Status)
	}
	list, err := s.Checkpoints(t.Context(), "x", "")
	if err != nil || len(list) != 1 || list[0].Name != "one" {
		t.Errorf("list: %v, %v", list, err)
	}
	var from *restorePoint
	err = s.startFrom(t.Context(), "x", func(r *record) (*restorePoint, error) {
		dir, err := s.findCheckpoint(r, "x", k)
		if err != nil {
			return nil, err
		}
		from = &restorePoint{dir: dir}
		from.config, err = readCheckpointConfig(dir)
		return from, err
	})
	if err != nil || from.addresses()["bridge"].String() != "10.0.0.7" || from.config.ContainerID != c.rec.ID || !from.config.Exit {
		t.Errorf("%+v, %v", from, err)
	}
	if err := s.Checkpoint(t.Context(), "x", k, true); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second of that name: %v", err)
	}
	if err := s.RemoveCheckpoint(t.Context(), "x", k); err != nil {
		t.Error(err)
	}
	if err := s.RemoveCheckpoint(t.Context(), "x", k); !errs.Is(err, errs.NotFound) {
		t.Errorf("remove again: %v", err)
	}
}

// TestCheckpointRefusals leave all as it was.
func TestCheckpointRefusals(t *testing.T) {
	sup := &fakeSupervisor{dump: func(wire.Dump) error { return errs.New(errs.Internal, "criu failed") }}
	s, c := newService(t, sup, always(container.StateRunning))
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", filepath.Join(elsewhere, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		k    engine.Checkpoint
		kind errs.Kind
		want string
	}{
		{engine.Checkpoint{Name: "one"}, errs.Internal, "Cannot checkpoint container x: criu failed"},
		{engine.Checkpoint{Name: "../one"}, errs.InvalidArgument, `invalid checkpoint ID "../one", only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`},
		{engine.Checkpoint{Name: "/one"}, errs.InvalidArgument, "invalid checkpoint ID"},
		{engine.Checkpoint{Name: "one."}, errs.InvalidArgument, "invalid checkpoint ID"},
		{engine.Checkpoint{Name: ""}, errs.InvalidArgument, "invalid checkpoint ID"},
		{engine.Checkpoint{Name: "one", Dir: "relative"}, errs.InvalidArgument, "is not an absolute path"},
		{engine.Checkpoint{Name: "file", Dir: elsewhere}, errs.Conflict, "exists and is not a directory"},
		{engine.Checkpoint{Name: "link", Dir: elsewhere}, errs.Conflict, "exists and is not a directory"},
	} {
		if err := s.Checkpoint(t.Context(), "x", tc.k, false); !errs.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.k, err)
		}
	}
	if r := c.view(); r.State.Status != container.StateRunning || r.StoppedByAPI {
		t.Errorf("it is %s, stopped: %t", r.State.Status, r.StoppedByAPI)
	}
	if err := s.RemoveCheckpoint(t.Context(), "x", engine.Checkpoint{Name: "link", Dir: elsewhere}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("remove a link: %v", err)
	}
	c.setStatus(container.StatePaused)
	if err := s.Checkpoint(t.Context(), "x", engine.Checkpoint{Name: "one"}, false); !errs.Is(err, errs.Conflict) {
		t.Errorf("paused: %v", err)
	}
}

// TestRestoreFails: the container is stopped as before.
func TestRestoreFails(t *testing.T) {
	sup := &fakeSupervisor{start: func(context.Context) error { return errs.New(errs.Internal, "criu failed") }}
	s, c := newService(t, sup, func(r *record) { r.State.ExitCode = 137 })
	dir := t.TempDir()
	k := engine.Checkpoint{Name: "one", Dir: dir}
	if err := s.Restore(t.Context(), "x", k); !errs.Is(err, errs.NotFound) || err.Error() != "checkpoint one does not exist for container x" {
		t.Errorf("none: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "one"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(t.Context(), "x", k); err == nil || err.Error() != "failed to start container from checkpoint one: criu failed" {
		t.Errorf("got %v", err)
	}
	if r := c.view(); r.State.Status != container.StateExited || r.State.ExitCode != 137 || !strings.Contains(r.State.Error, "criu failed") {
		t.Errorf("it is %+v", r.State)
	}
	config := filepath.Join(dir, "one", checkpointConfigFile)
	for what, plant := range map[string]func() error{
		"a link":  func() error { return os.Symlink("/etc/passwd", config) },
		"broken":  func() error { return os.WriteFile(config, []byte("{"), 0o600) },
		"a large": func() error { return os.WriteFile(config, make([]byte, maxCheckpointConfig+1), 0o600) },
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(t.Context(), "x", k); !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%s config.json: %v", what, err)
		}
		if err := os.Remove(config); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnfinishedCheckpointIsNone: nor is what somebody else has put there.
func TestUnfinishedCheckpointIsNone(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, always(container.StateExited))
	if list, err := s.Checkpoints(t.Context(), "x", ""); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	root := s.store.file(c.rec.ID, checkpointsDir)
	for _, name := range []string{wire.Unfinished("one") + "1", "two"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := s.Checkpoints(t.Context(), "x", "")
	if text, _ := json.Marshal(list); err != nil || string(text) != `[{"Name":"two"}]` {
		t.Errorf("%s, %v", text, err)
	}
}
