package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// Scripts that use Docker's Python SDK work as they are.
func TestPythonSDK(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/usr/lib/python3/dist-packages/docker/__init__.py"))
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "testdata/sdk.py", testenv.Unique("sdk"))
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+world.engine.sock, "DOCKER_CONFIG="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "ok\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOlderMembers: what scripts look up in documents of Docker 28, with or without a value.
func TestOlderMembers(t *testing.T) {
	c := one(t, world.engine)
	for path, members := range map[string][]string{
		"/networks":  {`"ConfigOnly":false,"Containers":{},`},
		"/system/df": {`"LayersSize":`, `"Images":[`, `"Containers":[`, `"Volumes":[`, `"BuildCache":[`},
	} {
		body, err := c.e.get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if !strings.Contains(string(body), m) {
				t.Errorf("%s lacks %s: %s", path, m, tail(string(body)))
			}
		}
	}
}

// TestRefusedBodies: wrong members that today's types do not tell apart.
func TestRefusedBodies(t *testing.T) {
	c := one(t, world.engine)
	for body, want := range map[string]string{
		`{"Image":"busybox","MacAddress":"foo"}`:                                          "invalid config for network bridge: invalid MAC address foo",
		`{"Image":"busybox","HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}}`: `invalid port specification: \"x\"`,
		`{"Image":"busybox","HostConfig":{"CgroupnsMode":"foo"}}`:                         "invalid cgroup namespace mode: foo",
	} {
		_, err := c.e.call(t.Context(), "POST", "/containers/create", "application/json", strings.NewReader(body))
		if api, ok := errors.AsType[*apiError](err); !ok || api.status != 400 || !strings.Contains(api.body, want) {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}
