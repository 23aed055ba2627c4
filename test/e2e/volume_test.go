package e2e

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
		name := c.container()
		c.ok("create", "--name", name, "-v", dir+":/d", "busybox", "touch", "/d/file")
		if _, err := os.Stat(dir); err == nil {
			t.Error("create made the directory; that is for start")
		}
		c.ok("start", "-a", name)
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

// What a container's name resolution needs is there, too, where a volume or a
// directory of the host takes the place of /etc.
func TestVolumeOnEtc(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		v := c.volume()
		for _, src := range []string{v, v + "x", t.TempDir()} {
			c.t.Cleanup(func() { c.do("volume", "rm", "-f", v+"x") })
			out := c.ok("run", "--rm", "--add-host", "other:1.2.3.4", "-h", "me", "-v", src+":/etc", "busybox",
				"sh", "-c", "grep other /etc/hosts; cat /etc/hostname; grep -c nameserver /etc/resolv.conf")
			equal(t, "files of the network in "+src, out, "1.2.3.4\tother\nme\n1")
		}
		equal(t, "hosts file of the user's", c.ok("run", "--rm", "-v", v+":/etc", "-v", "/dev/null:/etc/hosts", "busybox", "wc", "-c", "/etc/hosts"), "0 /etc/hosts")
	})
}

// What inspect says of mounts, of which monitors that mount the host's / are an example.
func TestMountsShown(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name, v := c.container(), c.volume()
		c.ok("create", "--name", name, "--tmpfs", "/a", "--mount", "type=tmpfs,dst=/b", "-v", "/:/c:ro", "-v", "/usr:/d", "-v", v+":/e:ro", "busybox")
		heir := c.container()
		c.ok("create", "--name", heir, "-v", "/:/c", "busybox")
		const format = "{{range .Mounts}}{{.Type}},{{.Destination}},{{.Mode}},{{.RW}},{{.Propagation}} {{end}}"
		lines := func(name string) string {
			all := strings.Fields(c.ok("inspect", "-f", format, name))
			slices.Sort(all)
			return strings.Join(all, " ")
		}
		equal(t, "mounts", lines(name), "bind,/c,ro,false,rslave bind,/d,,true,rprivate tmpfs,/b,,true, volume,/e,ro,false,")
		equal(t, "root without a mode", lines(heir), "bind,/c,,true,rslave")
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

// A part of an image as a mount. Links in the image lead nowhere else.
func TestImageSubpath(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	c := currentClient(t)
	img := testenv.Unique("hostile")
	c.ok("import", hostileFiles(t), img)
	t.Cleanup(func() { c.ok("rmi", img) })
	part := func(image, path string) string {
		return "type=image,source=" + image + ",target=/img,image-subpath=" + path
	}
	equal(t, "directory", c.ok("run", "--rm", "--mount", part("layered", "layers/opaque"), "busybox", "ls", "/img"), "new")
	equal(t, "file", c.ok("run", "--rm", "--mount", part("layered", "layers/changed"), "busybox", "cat", "/img"), "top")
	equal(t, "link inside", c.ok("run", "--rm", "--mount", part(img, "in/sub"), "busybox", "ls", "/img"), "file")
	equal(t, "all", c.ok("run", "--rm", "--mount", part(img, "in/.."), "busybox", "ls", "/img/dir/sub"), "file")
	matches(t, "written", c.fails(1, "run", "--rm", "--mount", part("layered", "layers"), "busybox", "touch", "/img/x"), "Read-only file system")

	for _, path := range []string{"/etc", "../etc", "dir/../.."} {
		matches(t, path, c.fails(1, "create", "--mount", part(img, path), "busybox"), `invalid mount config for type "image": subpath must be a relative path within the volume`)
	}
	for _, path := range []string{"abs", "root", "proc", "dir/out"} {
		matches(t, path, c.fails(125, "run", "--rm", "--mount", part(img, path), "busybox", "ls", "/img"), "path concatenation escapes the base directory, base: .*, subpath: "+path+"$")
	}
	matches(t, "loop", c.fails(125, "run", "--rm", "--mount", part(img, "loop"), "busybox"), `too many (levels of symbolic )?links`)
	matches(t, "file as a directory", c.fails(125, "run", "--rm", "--mount", part(img, "dir/sub/file/x"), "busybox"), "not a directory")

	name := c.container()
	c.ok("create", "--name", name, "--mount", part(img, "none"), "busybox", "true")
	matches(t, "missing", c.fails(1, "start", name), "cannot access path .*/none: .*no such file or directory")
	matches(t, "state", c.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name), "^created 128 cannot access path .*no such file or directory$")
	equal(t, "inspect", c.ok("inspect", "-f", "{{(index .HostConfig.Mounts 0).ImageOptions.Subpath}}", name), "none")
	matches(t, "through volumes-from", c.fails(127, "run", "--rm", "--volumes-from", name, "busybox"), "cannot access path .*/none")
}

// hostileFiles is an archive of files with links that lead out of it.
func hostileFiles(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hostile.tar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, h := range []tar.Header{
		{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "dir/sub/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "dir/sub/file", Typeflag: tar.TypeReg, Mode: 0o644}, {Name: "in", Typeflag: tar.TypeSymlink, Linkname: "dir"},
		{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "root", Typeflag: tar.TypeSymlink, Linkname: "/"},
		{Name: "proc", Typeflag: tar.TypeSymlink, Linkname: "/proc/1/root"}, {Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		{Name: "dir/out", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../../../../../../etc"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// A part of a volume is looked up at each start, and never outside of the volume.
func TestVolumeSubpath(t *testing.T) {
	testenv.Need(t, testenv.Root)
	t.Parallel()
	c := currentClient(t)
	volume, name := c.volume(), c.container()
	inside := func(script string) { c.ok("run", "--rm", "-v", volume+":/v", "busybox", "sh", "-c", script) }
	inside("mkdir -p /v/dir/sub; echo inside > /v/dir/sub/file; ln -s dir /v/in; ln -s /etc /v/abs")
	part := func(path string) string {
		return "type=volume,source=" + volume + ",target=/part,volume-subpath=" + path
	}
	equal(t, "directory", c.ok("run", "--rm", "--mount", part("in/sub"), "busybox", "cat", "/part/file"), "inside")
	equal(t, "file", c.ok("run", "--rm", "--mount", part("dir/sub/file"), "busybox", "cat", "/part"), "inside")
	matches(t, "link", c.fails(125, "run", "--rm", "--mount", part("abs"), "busybox"), "path concatenation escapes the base directory, base: .*, subpath: abs$")

	c.ok("create", "--name", name, "--mount", part("later"), "busybox", "cat", "/part/file")
	matches(t, "missing", c.fails(1, "start", "-a", name), "cannot access path .*/later: .*no such file or directory")
	inside("mkdir /v/later; echo made > /v/later/file")
	equal(t, "made since", c.ok("start", "-a", name), "made")
	equal(t, "copied", c.ok("cp", name+":/part/file", filepath.Join(t.TempDir(), "file")), "")
	inside("rm -r /v/later; ln -s /etc /v/later")
	matches(t, "exchanged for a link", c.fails(1, "start", "-a", name), "path concatenation escapes the base directory")
	matches(t, "copied through the link", c.fails(1, "cp", name+":/part/passwd", t.TempDir()), "path concatenation escapes the base directory|no such file|not find")
	matches(t, "shown", c.ok("inspect", "-f", "{{(index .Mounts 0).Source}}", name), "/_data$")
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
