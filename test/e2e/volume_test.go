package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

// volume gives a name for a volume that is removed after the test.
func (c *cli) volume() string {
	name := testenv.Unique("v")
	c.t.Cleanup(func() {
		if _, err := c.e.call(c.t.Context(), "DELETE", "/volumes/"+name+"?force=1", "", nil); err != nil && c.t.Context().Err() == nil {
			c.t.Errorf("remove volume %s: %v", name, err)
		}
	})
	return name
}

func TestBind(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "in"), []byte("from the host\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		equal(t, "read", c.ok("run", "--rm", "-v", dir+":/d", "busybox", "cat", "/d/in"), "from the host")
		c.ok("run", "--rm", "-v", dir+":/d", "busybox", "sh", "-c", "echo from inside > /d/out")
		out, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "written", string(out), "from inside\n")
		matches(t, "read-only", c.fails(1, "run", "--rm", "-v", dir+":/d:ro", "busybox", "touch", "/d/no"), "Read-only file system")
		equal(t, "single file", c.ok("run", "--rm", "-v", dir+"/in:/etc/one:ro", "busybox", "cat", "/etc/one"), "from the host")
		equal(t, "mount syntax", c.ok("run", "--rm", "--mount", "type=bind,source="+dir+",target=/m,readonly", "busybox", "cat", "/m/in"), "from the host")
	})
}

func TestBindMakesSource(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		dir := filepath.Join(t.TempDir(), "made", "by", "run")
		c.ok("run", "--rm", "-v", dir+":/d", "busybox", "touch", "/d/file")
		if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
			t.Error(err)
		}
	})
}

func TestNamedVolume(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.volume()
		c.ok("run", "--rm", "-v", name+":/d", "busybox", "sh", "-c", "echo kept > /d/file")
		equal(t, "second container", c.ok("run", "--rm", "-v", name+":/d", "busybox", "cat", "/d/file"), "kept")
		path := c.ok("volume", "inspect", "-f", "{{.Mountpoint}}", name)
		data, err := os.ReadFile(filepath.Join(path, "file"))
		if err != nil || string(data) != "kept\n" {
			t.Errorf("%s/file holds %q, %v", path, data, err)
		}
		user := c.container()
		c.ok("create", "--name", user, "-v", name+":/d", "busybox", "true")
		matches(t, "in use", c.fails(1, "volume", "rm", name), `volume is in use - \[`)
		c.ok("rm", user)
		equal(t, "rm", c.ok("volume", "rm", name), name)
		matches(t, "gone", c.fails(1, "volume", "inspect", name), `[Nn]o such volume: `+name+`|get `+name+`: no such volume`)
		c.ok("volume", "create", name)
	})
}

// TestVolumeCopiesImageContent: an empty volume starts with what the image has
// at its mount point.
func TestVolumeCopiesImageContent(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.volume()
		equal(t, "named", c.ok("run", "--rm", "-v", name+":/data", "app", "exec", "sh", "-c", "cat /data/seed; stat -c %u:%g /data /data/seed"), "from the image\n1000:1000\n1000:1000")
		equal(t, "anonymous", c.ok("run", "--rm", "app", "exec", "cat", "/data/seed"), "from the image")
	})
}

func TestAnonymousVolumeIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.container()
		c.ok("run", "-d", "--name", name, "app", "exec", "sleep", "600")
		volume := c.ok("inspect", "-f", "{{range .Mounts}}{{.Name}} {{.Destination}}{{end}}", name)
		id, at, _ := strings.Cut(volume, " ")
		if len(id) != 64 || at != "/data" {
			t.Fatalf("mounts %q", volume)
		}
		c.ok("rm", "-f", "-v", name)
		matches(t, "gone", c.fails(1, "volume", "inspect", id), "[Nn]o such volume")
	})
}

func TestVolumesFrom(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name, volume := c.container(), c.volume()
		c.ok("run", "--name", name, "-v", volume+":/shared", "busybox", "sh", "-c", "echo shared > /shared/file")
		equal(t, "file", c.ok("run", "--rm", "--volumes-from", name+":ro", "busybox", "cat", "/shared/file"), "shared")
		c.ok("rm", name)
	})
}

// An image as a mount: read-only, in use while the container is there, and gone
// with it.
func TestImageMount(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	c := currentClient(t)
	name, img := c.container(), testenv.Unique("img")
	c.ok("tag", "layered", img)
	c.ok("create", "--name", name, "--mount", "type=image,source="+img+",target=/img", "busybox", "sh", "-c", "cat /img/layers/changed; ls /img/layers; echo > /img/no")
	for range 2 { // the second start finds the same
		r := c.do("start", "-a", name)
		equal(t, "files", r.stdout, "top\nchanged\nkeep\nopaque\nturned\n")
		matches(t, "written", r.stderr, "Read-only file system")
	}
	equal(t, "inspect", c.ok("inspect", "-f", "{{with index .Mounts 0}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}", name), "image "+img+" /img false")
	c.ok("rmi", img) // layered keeps its own name
	matches(t, "unknown image", c.fails(1, "create", "--mount", "type=image,source=nope,target=/x", "busybox"), "")
	matches(t, "no source", c.fails(1, "create", "--mount", "type=image,target=/x", "busybox"), `invalid mount config for type "image": field Source must not be empty`)
}

// currentClient is a client that knows today's options.
func currentClient(t *testing.T) *cli {
	t.Helper()
	for _, cl := range world.clients {
		if cl.name != "docker20" {
			return bind(t, cl, world.engine)
		}
	}
	t.Skip("needs a client of today: only docker 20.10 is asked for")
	return nil
}

// Clients divide by what they find here: a volume must have its size.
func TestDiskUsageOfVolumes(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := c.volume()
		c.ok("run", "--rm", "-v", name+":/d", "busybox", "sh", "-c", "head -c 5000 /dev/zero > /d/file")
		matches(t, "df", c.ok("system", "df"), `(?m)^Local Volumes +[1-9]\d* +\d+ +\S+B`)
		matches(t, "df -v", c.ok("system", "df", "-v"), `(?m)^`+name+` +0 +5(\.0*)?kB`)
	})
}
