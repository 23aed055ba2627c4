package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant makes files on this side.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func tarNames(t *testing.T, data string) string {
	t.Helper()
	var names []string
	for r := tar.NewReader(strings.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(names, " ")
		}
		if err != nil {
			t.Fatalf("%v after %q", err, names)
		}
		names = append(names, h.Name)
	}
}

// states are those in which a container must be able to give and take files.
var states = map[string]func(c *cli) string{
	"created": func(c *cli) string {
		name := c.container()
		c.ok("create", "--name", name, "-v", "/vol", "busybox", "sleep", "100")
		return name
	},
	"running": func(c *cli) string {
		name := c.container()
		c.ok("run", "-d", "--name", name, "-v", "/vol", "busybox", "sleep", "100")
		return name
	},
	"stopped": func(c *cli) string {
		name := c.container()
		c.ok("run", "--name", name, "-v", "/vol", "busybox", "true")
		return name
	},
}

func TestCopy(t *testing.T) {
	for state, enter := range states {
		t.Run(state, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				name, dir := enter(c), t.TempDir()
				plant(t, dir, map[string]string{"f": "file", "d/g": "deep", "d/s/h": "deeper"})
				if err := os.Symlink("f", filepath.Join(dir, "l")); err != nil {
					t.Fatal(err)
				}
				in := func(n string) string { return filepath.Join(dir, n) }
				c.ok("cp", in("f"), name+":/tmp/new")
				c.ok("cp", in("f"), name+":/tmp")
				c.ok("cp", in("d"), name+":/tmp/tree")
				c.ok("cp", in("d"), name+":/vol")
				c.ok("cp", in("d")+"/.", name+":/vol")
				c.ok("cp", "-L", in("l"), name+":/tmp/followed")
				out := t.TempDir()
				at := func(n string) string { return filepath.Join(out, n) }
				c.ok("cp", name+":/tmp", at("tmp"))
				c.ok("cp", name+":/vol", out)
				c.ok("cp", name+":/vol/.", at("content"))
				c.ok("cp", name+":/tmp/new", out)
				for file, want := range map[string]string{
					"tmp/new": "file", "tmp/f": "file", "tmp/tree/g": "deep", "tmp/tree/s/h": "deeper", "tmp/followed": "file",
					"vol/d/g": "deep", "vol/g": "deep", "content/s/h": "deeper", "new": "file",
				} {
					equal(t, file, read(t, at(file)), want)
				}
				equal(t, "archive", tarNames(t, c.do("cp", name+":/tmp/tree", "-").stdout), "tree/ tree/g tree/s/ tree/s/h")
				matches(t, "message", c.fails(1, "cp", name+":/none", out), "Could not find the file /none in container|No such container:path")
			})
		})
	}
}

// What is in a volume, and what a volume hides, is what the container sees.
func TestCopySeesTheContainersFiles(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"bound": "bound"})
		name := c.container()
		c.ok("run", "--name", name, "-v", dir+":/mnt:ro", "busybox", "sh", "-c", "echo x > /x; ln -s /x /link; ln -s /../../../.."+dir+"/bound /evil")
		out := t.TempDir()
		c.ok("cp", name+":/mnt/bound", out)
		equal(t, "bound", read(t, filepath.Join(out, "bound")), "bound")
		c.ok("cp", name+":/link", out)
		if to, err := os.Readlink(filepath.Join(out, "link")); err != nil || to != "/x" {
			t.Errorf("%q %v", to, err)
		}
		c.ok("cp", "-L", name+":/link", filepath.Join(out, "followed"))
		equal(t, "followed", read(t, filepath.Join(out, "followed")), "x\n")
		c.fails(1, "cp", "-L", name+":/evil", filepath.Join(out, "evil")) // the container has no such file
		matches(t, "message", c.fails(1, "cp", filepath.Join(out, "bound"), name+":/mnt/new"), "marked read-only")
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Error("a read-only mount was written to")
		}
	})
}

func TestCopyStandardStreams(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.background()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "from/stdin", Typeflag: tar.TypeReg, Mode: 0o640, Size: 2, Uid: 12, Gid: 34}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		equal(t, "cp", c.doIn(&b, "cp", "-", name+":/tmp").stderr, "")
		equal(t, "file", c.ok("exec", name, "stat", "-c", "%a %u %g", "/tmp/from/stdin"), "640 12 34")
		equal(t, "content", c.ok("exec", name, "cat", "/tmp/from/stdin"), "hi")
	})
}

func TestCopyErrors(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name, dir := c.background(), t.TempDir()
		plant(t, dir, map[string]string{"f": "x", "d/g": "y"})
		c.ok("exec", name, "sh", "-c", "mkdir /tmp/dir; echo 1 > /tmp/file")
		matches(t, "message", c.fails(1, "cp", filepath.Join(dir, "d"), name+":/tmp/file"), "cannot copy directory")
		matches(t, "message", c.fails(1, "cp", "none:/x", dir), "No such container: none|No such container:path: none")
		c.fails(1, "cp", filepath.Join(dir, "f"), name+":/no/such/place")
		c.fails(1, "cp", filepath.Join(dir, "f"), name+":/proc/sys/kernel/hostname")
		matches(t, "message", c.fails(1, "cp", name+":/a", name+":/b"), "copying between containers is not supported")
		equal(t, "file", c.ok("exec", name, "cat", "/tmp/file"), "1")
	})
}

func TestExport(t *testing.T) {
	for state, enter := range states {
		t.Run(state, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				name, dir := enter(c), t.TempDir()
				plant(t, dir, map[string]string{"mine": "mine", "hidden": "in the volume"})
				c.ok("cp", filepath.Join(dir, "mine"), name+":/mine")
				c.ok("cp", filepath.Join(dir, "hidden"), name+":/vol/hidden")
				file := filepath.Join(dir, "all.tar")
				c.ok("export", "-o", file, name)
				names := " " + tarNames(t, read(t, file)) + " "
				for _, want := range []string{" mine ", " bin/busybox ", " vol/ ", " .dockerenv "} {
					if !strings.Contains(names, want) {
						t.Errorf("%s is missing in%s", want, names)
					}
				}
				for _, wrong := range []string{"vol/hidden", "proc/1", "sys/kernel", "dev/null"} {
					if strings.Contains(names, " "+wrong) {
						t.Errorf("%s is in%s", wrong, names)
					}
				}
			})
		})
	}
}

// TestCopyToWorkdir: the working directory is there before the first start.
func TestCopyToWorkdir(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		dir, name := t.TempDir(), c.container()
		plant(t, dir, map[string]string{"file": "copied"})
		c.ok("create", "--name", name, "-w", "/made//./here/", "busybox", "cat", "file")
		equal(t, "inspect", c.ok("inspect", "-f", "{{.Config.WorkingDir}}", name), "/made/here")
		c.ok("cp", filepath.Join(dir, "file"), name+":/made/here/")
		equal(t, "start", c.ok("start", "-a", name), "copied")
	})
}
