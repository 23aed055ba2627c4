package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cdiSpec describes one device of a vendor, and all of them.
const cdiSpec = `{"cdiVersion": "0.6.0", "kind": "KIND", "devices": [
	{"name": "0", "containerEdits": {"env": ["CDI_ZERO=1"],
		"deviceNodes": [{"path": "/dev/cdi0", "hostPath": "/dev/null"}],
		"mounts": [{"hostPath": "/etc/hostname", "containerPath": "/cdi-file", "options": ["ro", "bind"]}]}},
	{"name": "all", "containerEdits": {"env": ["CDI_ALL=1"]}}]}`

// Devices that vendors describe: by their names, and by --gpus.
func TestCDI(t *testing.T) {
	needEngine(t, gantryEngine) // dockerd gives GPUs to one vendor's own hook only
	t.Parallel()
	dir := t.TempDir()
	for file, kind := range map[string]string{"a.json": "vendor.example/class", "b.json": "vendor.example/gpu"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(cdiSpec, "KIND", kind, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := one(t, own(t, engineOptions{args: []string{"--cdi-spec-dir", dir}}))
	got := c.ok("run", "--rm", "--device", "vendor.example/class=0", "busybox", "sh", "-c", "echo $CDI_ZERO; echo x > /dev/cdi0 && test -c /dev/cdi0 && test -s /cdi-file && echo there")
	equal(t, "by name", got, "1\nthere")
	for _, gpus := range []struct{ flag, variable string }{{"all", "CDI_ALL=1"}, {"1", "CDI_ZERO=1"}, {"device=0", "CDI_ZERO=1"}} {
		if env := strings.Split(c.ok("run", "--rm", "--gpus", gpus.flag, "busybox", "env"), "\n"); !slices.Contains(env, gpus.variable) {
			t.Errorf("--gpus %s: no %s in %q", gpus.flag, gpus.variable, env)
		}
	}
	matches(t, "unknown device", c.fails(125, "run", "--rm", "--device", "vendor.example/class=nope", "busybox", "true"),
		"CDI device injection failed: unresolvable CDI devices vendor.example/class=nope")
	c = one(t, world.engine) // where no device is described
	matches(t, "no GPU", c.fails(125, "run", "--rm", "--gpus", "all", "busybox", "true"),
		`could not select device driver "" with capabilities: \[\[gpu\]\]`)
}
