package oci

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// TestHooks has every hook append its name and what it knows to one file.
func TestHooks(t *testing.T) {
	r, bundle, dir := newRuntime(t), newBundle(t), t.TempDir()
	log := filepath.Join(dir, "log")
	script := filepath.Join(dir, "hook")
	text := "#!/bin/busybox sh\nread state\necho \"$1 $HOOK $(/bin/busybox readlink /proc/self/ns/mnt) $state\" >> $2\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: script, Args: []string{"hook", name, log}, Env: []string{"HOOK=env"}, Timeout: ptr(10)}}
	}
	spec := newSpec("sh", "-c", "cat /started; sleep 0.2")
	spec.Hooks = &specs.Hooks{
		//lint:ignore SA1019 deprecated, but still in use
		Prestart:      hook("prestart"),
		CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
		StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat > /started"}}},
		Poststart:      hook("poststart"), Poststop: hook("poststop"),
	}
	spec.Annotations = map[string]string{"key": "value"}
	s := newStreams(t, "")
	c, p, err := r.Run(t.Context(), "hooked", CreateOptions{Bundle: bundle, Spec: spec, IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	s.done()
	if err := c.Delete(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	names := []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"}
	if len(lines) != len(names) {
		t.Fatalf("got %q", lines)
	}
	host, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range append(lines, "startContainer env - "+s.out.String()) {
		parts := strings.SplitN(line, " ", 4)
		var state specs.State
		if err := json.Unmarshal([]byte(parts[3]), &state); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if state.ID != "hooked" || state.Bundle != bundle || state.Annotations["key"] != "value" || state.Pid == 0 {
			t.Errorf("%s: %+v", parts[0], state)
		}
		if i < len(names) && (parts[0] != names[i] || parts[1] != "env" || (parts[2] == host) != (names[i] != "createContainer")) {
			t.Errorf("hook %d: got %q", i, line)
		}
	}
}

func TestFailingHooks(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	fail := []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "echo reason >&2; exit 3"}}}
	slow := []specs.Hook{{Path: "/bin/busybox", Args: []string{"sleep", "1000"}, Timeout: ptr(1)}}
	for name, tc := range map[string]struct {
		hooks *specs.Hooks
		want  string
	}{
		"createRuntime":        {&specs.Hooks{CreateRuntime: fail}, "error running createRuntime hook #0: /bin/busybox: exit status 3, stderr: reason"},
		"createContainer":      {&specs.Hooks{CreateContainer: fail}, "error running createContainer hook #0: /bin/busybox: exit status 3, stderr: reason"},
		"startContainer":       {&specs.Hooks{StartContainer: fail}, "error running startContainer hook #0: /bin/busybox: exit status 3, stderr: reason"},
		"timeout":              {&specs.Hooks{CreateRuntime: slow}, "ran past specified timeout of 1.0s"},
		"timeout in container": {&specs.Hooks{CreateContainer: slow}, "ran past specified timeout of 1.0s"},
		"missing":              {&specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/no/such"}}}, "no such file or directory"},
	} {
		spec := newSpec("true")
		spec.Hooks = tc.hooks
		if _, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The program runs already: it ends with the container.
	spec := newSpec("sleep", "1000")
	spec.Hooks = &specs.Hooks{Poststart: fail}
	if _, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err == nil || !strings.Contains(err.Error(), "error running poststart hook #0: ") {
		t.Errorf("poststart: got %v", err)
	}
	s := newStreams(t, "")
	c, p, err := r.Create(t.Context(), "started", CreateOptions{Bundle: bundle, Spec: spec, IO: s.io})
	s.handed()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "error running poststart hook #0: ") {
		t.Errorf("poststart of a created one: got %v", err)
	}
	if code := wait(t, p); code != 137 {
		t.Errorf("the program goes on: %d", code)
	}
	s.done()
	if err := c.Delete(t.Context(), false); err != nil {
		t.Error(err)
	}
	// After the end it is too late to fail.
	spec = newSpec("echo", "ran")
	spec.Hooks = &specs.Hooks{Poststop: fail}
	if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err != nil || res.out != "ran\n" {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestHookSurroundings: what hooks find that say nothing about it, as with runc.
func TestHookSurroundings(t *testing.T) {
	r, bundle := newRuntime(t), newBundle(t)
	spec := newSpec("cat", "/tmp/made")
	spec.Process.Env = append(spec.Process.Env, "ONE=two")
	sh := func(script string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", script}}}
	}
	spec.Hooks = &specs.Hooks{CreateContainer: sh("echo here >tmp/made"), StartContainer: sh("echo $ONE >>/tmp/made")}
	if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err != nil || res.out != "here\ntwo\n" {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestCancel ends a run that hangs in a hook of the container.
func TestCancel(t *testing.T) {
	r := newRuntime(t)
	spec := newSpec("true")
	spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sleep", "1000"}}}}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, _, err := r.Run(ctx, "hangs", CreateOptions{Bundle: newBundle(t), Spec: spec}); err == nil {
		t.Error("no error")
	}
	if took := time.Since(begin); took > time.Minute { // the hook would take 1000 s
		t.Errorf("took %v", took)
	}
	requireNoTrace(t, r, "hangs")
}

// TestExecWhileCreating: nobody joins a container whose init is still in the
// machine's root.
func TestExecWhileCreating(t *testing.T) {
	r, dir := newRuntime(t), t.TempDir()
	spec := newSpec("true")
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c",
		"/bin/busybox touch " + dir + "/in; while [ ! -e " + dir + "/go ]; do /bin/busybox sleep 0.01; done"}}}}
	done := make(chan error, 1)
	go func() {
		_, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
		done <- err
	}()
	eventually(t, "the hook", func() bool { _, err := os.Stat(dir + "/in"); return err == nil })
	all, err := r.List()
	if err != nil || len(all) != 1 {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	requireStatus(t, all[0], specs.StateCreating)
	if res, err := execIn(t, all[0], newProcess("cat", "/proc/self/mountinfo")); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "being created") {
		t.Errorf("got %+v, %v", res, err)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
