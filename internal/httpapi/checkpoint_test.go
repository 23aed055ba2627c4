package httpapi

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/checkpoint"

	"github.com/gantry-run/gantry/internal/engine"
)

func (f *fakeContainers) note(format string, args ...any) {
	f.checkpoints = append(f.checkpoints, fmt.Sprintf(format, args...))
}

func (f *fakeContainers) Checkpoint(_ context.Context, id string, to engine.Checkpoint, leaveRunning bool) error {
	f.note("create %s %v %t", id, to, leaveRunning)
	return nil
}

func (f *fakeContainers) Checkpoints(_ context.Context, id, dir string) ([]checkpoint.Summary, error) {
	f.note("list %s %s", id, dir)
	if dir == "" {
		return nil, nil
	}
	return []checkpoint.Summary{{Name: "one"}}, nil
}

func (f *fakeContainers) RemoveCheckpoint(_ context.Context, id string, c engine.Checkpoint) error {
	f.note("remove %s %v", id, c)
	return nil
}

func (f *fakeContainers) Restore(_ context.Context, id string, from engine.Checkpoint) error {
	f.note("restore %s %v", id, from)
	return nil
}

func TestCheckpoints(t *testing.T) {
	s := serve(t, Options{Experimental: true})
	for _, tt := range []struct {
		status               int
		answer, method, path string
		body                 string
	}{
		{201, "", "POST", "/containers/x/checkpoints", `{"CheckpointID":"one","CheckpointDir":"/d","Exit":true}`},
		{201, "", "POST", "/containers/x/checkpoints", `{"CheckpointID":"two"}`},
		{200, "[]", "GET", "/containers/x/checkpoints", ""},
		{200, `[{"Name":"one"}]`, "GET", "/containers/x/checkpoints?dir=/d", ""},
		{204, "", "DELETE", "/containers/x/checkpoints/one?dir=/d", ""},
		{204, "", "DELETE", "/containers/x/checkpoints/%2e%2e%2fy", ""}, // names are the engine's to refuse
		{204, "", "POST", "/containers/x/start?checkpoint=one&checkpoint-dir=/d", ""},
	} {
		s.want(tt.status, tt.answer, tt.method, tt.path, tt.body)
	}
	want := []string{
		"create x {one /d} false", "create x {two } true", "list x ", "list x /d", "remove x {one /d}", "remove x {../y }", "restore x {one /d}",
	}
	if !slices.Equal(s.containers.checkpoints, want) {
		t.Errorf("got %q", s.containers.checkpoints)
	}
}
