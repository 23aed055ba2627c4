package runtimes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// bundle is a directory with a root filesystem of busybox and a config.json.
type bundle struct {
	t    *testing.T
	path string
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t, filepath.Join(t.TempDir(), "bundle")}
	const script = `mkdir -p "$0/rootfs" && cd "$0/rootfs" && mkdir bin proc sys dev && cp /bin/busybox bin/ &&
		for a in cat grep id ls ps readlink sh sleep stat touch tty; do ln -s busybox bin/$a; done`
	if out, err := exec.Command("sh", "-c", script, b.path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return b
}

// configure rewrites config.json: the program, and what else change does.
func (b *bundle) configure(change func(*specs.Spec), args ...string) {
	b.t.Helper()
	file := filepath.Join(b.path, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		b.t.Fatal(err)
	}
	spec.Process.Args, spec.Process.Terminal = args, false
	if change != nil {
		change(&spec)
	}
	if data, err = json.Marshal(spec); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
