package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
	"github.com/gantry-run/gantry/internal/testimage"
)

// unique makes a small image that no other test has: busybox plus a file.
func unique(t *testing.T, f testimage.Flavour, c testimage.Compression) (img testimage.Image, mark string) {
	t.Helper()
	mark = testenv.Unique("mark")
	img, err := testimage.Busybox(f, c, testimage.File{Name: "etc/"}, testimage.File{Name: "etc/mark", Body: []byte(mark + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return img, mark
}

// forget removes images at the end of the test, whatever they are called.
func (c *cli) forget(names ...string) {
	c.t.Cleanup(func() {
		for _, n := range names {
			_, _ = c.e.call(c.t.(*testing.T).Context(), "DELETE", "/images/"+n+"?force=1", "", nil) // gone already, mostly
		}
	})
}

func archive(t *testing.T, write func(io.Writer, ...testimage.Tagged) error, images ...testimage.Tagged) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := testimage.WriteFile(name, func(w io.Writer) error { return write(w, images...) }); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLoad(t *testing.T) {
	for _, s := range []struct {
		name  string
		write func(io.Writer, ...testimage.Tagged) error
		f     testimage.Flavour
		c     testimage.Compression
		// dockerd 20.10 reads neither OCI archives nor zstd.
		gantryOnly bool
	}{
		{"docker archive", testimage.WriteDockerArchive, testimage.Docker, testimage.Gzip, false},
		{"OCI archive, gzip", testimage.WriteOCIArchive, testimage.OCI, testimage.Gzip, true},
		{"OCI archive, zstd", testimage.WriteOCIArchive, testimage.OCI, testimage.Zstd, true},
		{"OCI archive, uncompressed", testimage.WriteOCIArchive, testimage.OCI, testimage.Uncompressed, true},
	} {
		t.Run(s.name, func(t *testing.T) {
			if s.gantryOnly {
				needEngine(t, gantryEngine)
			}
			each(t, func(t *testing.T, c *cli) {
				img, mark := unique(t, s.f, s.c)
				name := mark + ":v1"
				c.forget(name)
				file := archive(t, s.write, testimage.Tagged{Image: img, Names: []string{name}})
				equal(t, "load -i", c.ok("load", "-i", file), "Loaded image: "+name)
				equal(t, "content", c.ok("run", "--rm", name, "cat", "/etc/mark"), mark)
				c.ok("rmi", name)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				r := c.doIn(bytes.NewReader(data), "load")
				matches(t, "load from stdin", r.stdout, "Loaded image: "+name+"\n$")
				c.ok("rmi", name)
				var packed bytes.Buffer
				zw := gzip.NewWriter(&packed)
				_, _ = zw.Write(data) // to memory
				_ = zw.Close()
				r = c.doIn(&packed, "load", "-q")
				equal(t, "load of a gzip stream", r.stdout, "Loaded image: "+name+"\n")
				equal(t, "content", c.ok("run", "--rm", name, "cat", "/etc/mark"), mark)
			})
		})
	}
}

func TestLoadSeveral(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		a, nameA := unique(t, testimage.Docker, testimage.Gzip)
		b, nameB := unique(t, testimage.Docker, testimage.Gzip)
		c.forget(nameA+":1", nameA+":2", nameB+":1")
		file := archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: a, Names: []string{nameA + ":1", nameA + ":2"}}, testimage.Tagged{Image: b, Names: []string{nameB + ":1"}})
		out := c.ok("load", "-q", "-i", file)
		for _, n := range []string{nameA + ":1", nameA + ":2", nameB + ":1"} {
			matches(t, "output", out, "(?m)^Loaded image: "+n+"$")
			matches(t, "images", c.ok("images", "--format", "{{.Repository}}:{{.Tag}}"), "(?m)^"+n+"$")
		}
	})
}

func TestLoadWithoutName(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		c.forget(img.ID())
		file := archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: img})
		equal(t, "output", c.ok("load", "-i", file), "Loaded image ID: "+img.ID())
		equal(t, "by ID", c.ok("run", "--rm", img.ID(), "cat", "/etc/mark"), mark)
		equal(t, "by short ID", c.ok("run", "--rm", short(img.ID()), "cat", "/etc/mark"), mark)
	})
}

func TestLoadDamaged(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		file := archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: img, Names: []string{mark + ":v1"}})
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, damaged := range map[string][]byte{
			"truncated": data[:len(data)/2], "empty": nil, "no archive": bytes.Repeat([]byte("not a tar "), 1000),
		} {
			r := c.doIn(bytes.NewReader(damaged), "load")
			// Docker 20.10 takes an empty stream for an empty archive.
			if r.code != 1 && !(what == "empty" && c.e.kind == dockerEngine) {
				t.Errorf("%s: exit code %d, want 1; stdout %q, stderr %q", what, r.code, r.stdout, r.stderr)
			}
			if strings.Contains(r.stdout, "Loaded image") {
				t.Errorf("%s: %s", what, r.stdout)
			}
			equal(t, what+": images left", c.ok("images", "-q", mark), "")
		}
		equal(t, "missing file", c.fails(1, "load", "-i", "/no/such/file"), "open /no/such/file: no such file or directory")
	})
}

func TestSaveLoadRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		name := mark + ":v1"
		c.forget(name)
		c.ok("load", "-q", "-i", archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: img, Names: []string{name}}))
		saved := filepath.Join(t.TempDir(), "saved.tar")
		c.ok("save", "-o", saved, name)
		c.ok("rmi", name)
		equal(t, "load", c.ok("load", "-q", "-i", saved), "Loaded image: "+name)
		equal(t, "ID", c.ok("inspect", "-f", "{{.Id}}", name), img.ID())
	})
}

func TestPull(t *testing.T) {
	for _, s := range []struct {
		name       string
		f          testimage.Flavour
		c          testimage.Compression
		gantryOnly bool
	}{
		{"schema 2", testimage.Docker, testimage.Gzip, false},
		{"OCI", testimage.OCI, testimage.Gzip, false},
		{"OCI, zstd", testimage.OCI, testimage.Zstd, true},
		{"OCI, uncompressed", testimage.OCI, testimage.Uncompressed, false},
	} {
		t.Run(s.name, func(t *testing.T) {
			if s.gantryOnly {
				needEngine(t, gantryEngine)
			}
			each(t, func(t *testing.T, c *cli) {
				img, mark := unique(t, s.f, s.c)
				name := push(t, "pull/"+mark, "v1", img)
				c.forget(name)
				out := c.ok("pull", name)
				digest := img.Descriptor().Digest.String()
				matches(t, "output", out, fmt.Sprintf(`(?s)^v1: Pulling from pull/%s\n.*Digest: %s\nStatus: Downloaded newer image for %s\n%s$`, mark, digest, name, name))
				equal(t, "content", c.ok("run", "--rm", name, "cat", "/etc/mark"), mark)
				matches(t, "again", c.ok("pull", name), "Status: Image is up to date for "+name)
				repo, _, _ := strings.Cut(name, ":v1")
				equal(t, "by digest", c.ok("run", "--rm", repo+"@"+digest, "cat", "/etc/mark"), mark)
				equal(t, "quiet", c.ok("pull", "-q", name), name)
			})
		})
	}
}

func TestRunPulls(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		name := push(t, "runs/"+mark, "v1", img)
		c.forget(name)
		r := c.do("run", "--rm", "--pull", "missing", name, "cat", "/etc/mark")
		equal(t, "stdout", r.stdout, mark+"\n")
		matches(t, "stderr", r.stderr, fmt.Sprintf(`(?s)^Unable to find image '%s' locally\nv1: Pulling from runs/%s\n.*Status: Downloaded newer image for %s\n$`, name, mark, name))
		r = c.do("run", "--rm", "--pull", "never", "never-"+mark, "true")
		if r.code != 125 {
			t.Errorf("exit code %d, want 125", r.code)
		}
		matches(t, "never", message(r.stderr), `No such image: never-`+mark+`:latest`)
	})
}

func TestPullPlatform(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		for _, f := range []testimage.Flavour{testimage.OCI, testimage.Docker} {
			images, err := testimage.Platforms(f)
			if err != nil {
				t.Fatal(err)
			}
			repo := testenv.Unique("multi")
			if err := world.registry.Registry().PushIndex(t.Context(), repo, "v1", f, images...); err != nil {
				t.Fatal(err)
			}
			name := world.registry.Host + "/" + repo + ":v1"
			c.forget(name)
			equal(t, "native", c.ok("run", "--rm", "--pull", "always", name, "cat", "/etc/arch"), "native")
			c.ok("rmi", name)
			c.ok("pull", "-q", "--platform", "linux/s390x", name)
			equal(t, "architecture", c.ok("inspect", "-f", "{{.Os}}/{{.Architecture}}", name), "linux/s390x")
			c.ok("rmi", name)
			matches(t, "unknown platform", c.fails(1, "pull", "--platform", "linux/mips64", name), `no matching manifest for linux/mips64 in the manifest list entries`)
		}
	})
}

func TestPullUnknown(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		name := world.registry.Host + "/no/such:image"
		matches(t, "repository", c.fails(1, "pull", name), `Error response from daemon: manifest for `+name+` not found: manifest unknown|Error response from daemon: .*not found`)
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		known := push(t, "tags/"+mark, "v1", img)
		other := strings.TrimSuffix(known, ":v1") + ":v2"
		matches(t, "tag", c.fails(1, "pull", other), `Error response from daemon: (manifest for `+other+` not found: manifest unknown|.*`+other+`: not found)`)
		r := c.do("run", "--rm", other, "true")
		if r.code != 125 {
			t.Errorf("run of an unknown tag: exit code %d, want 125", r.code)
		}
		matches(t, "run", r.stderr, `Unable to find image '`+other+`' locally`)
		matches(t, "malformed", c.fails(1, "pull", "case/UPPER"), `invalid reference format: repository name( \(case/UPPER\))? must be lowercase`)
		matches(t, "no registry", c.fails(1, "pull", "127.0.0.1:1/x"), `connection refused`)
	})
}

func TestPullCorrupt(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		dir := t.TempDir()
		server, err := testimage.StartServer(testimage.ServerOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		img, mark := unique(t, testimage.OCI, testimage.Gzip)
		if err := server.Registry().Push(t.Context(), mark, "v1", img); err != nil {
			t.Fatal(err)
		}
		layer := img.Layers[len(img.Layers)-1]
		blob := filepath.Join(dir, "docker/registry/v2/blobs/sha256", layer.Digest.Encoded()[:2], layer.Digest.Encoded(), "data")
		data, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0xff
		if err := os.WriteFile(blob, data, 0o644); err != nil {
			t.Fatal(err)
		}
		name := server.Host + "/" + mark + ":v1"
		r := c.do("pull", name)
		if r.code != 1 {
			t.Errorf("exit code %d, want 1; stdout %s", r.code, r.stdout)
		}
		matches(t, "stderr", r.stderr, `(?i)(filesystem layer verification failed for digest|unexpected commit digest|failed precondition|digest|corrupt|invalid)`)
		equal(t, "image", c.ok("images", "-q", server.Host+"/"+mark), "")
	})
}

// TestPullResumes: a connection that breaks in the middle of a layer is no
// reason to fail, nor to fetch the first half twice.
func TestPullResumes(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		requests := filepath.Join(t.TempDir(), "requests")
		server, err := testimage.StartServer(testimage.ServerOptions{BreakAfter: 300 << 10, BreakTimes: 1, Requests: requests})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		mark := testenv.Unique("mark")
		// A layer of its own that does not compress: no engine has it already.
		noise := make([]byte, 2<<20)
		_, _ = rand.Read(noise) // documented never to fail
		img, err := testimage.Busybox(testimage.OCI, testimage.Gzip, testimage.File{Name: "etc/"},
			testimage.File{Name: "etc/mark", Body: []byte(mark + "\n")}, testimage.File{Name: "etc/noise", Body: noise})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Registry().Push(t.Context(), mark, "v1", img); err != nil {
			t.Fatal(err)
		}
		name := server.Host + "/" + mark + ":v1"
		c.forget(name)
		c.ok("pull", "-q", name)
		equal(t, "content", c.ok("run", "--rm", name, "cat", "/etc/mark"), mark)
		log, err := os.ReadFile(requests)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, "requests", string(log), `range="bytes=[1-9]\d*-`)
	})
}

func TestPullWithCredentials(t *testing.T) {
	for _, auth := range []string{"basic", "token"} {
		t.Run(auth, func(t *testing.T) {
			each(t, func(t *testing.T, c *cli) {
				server, err := testimage.StartServer(testimage.ServerOptions{Auth: auth})
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				name := c.pushPrivate(t, server, auth)
				c.forget(name)
				matches(t, "without credentials", c.fails(1, "pull", name), `(no basic auth credentials|pull access denied|unauthorized|authorization failed|denied)`)
				r := c.doIn(strings.NewReader("wrong"), "login", "-u", testimage.ServerUser, "--password-stdin", server.Host)
				if r.code != 1 {
					t.Errorf("login with a wrong password: exit code %d", r.code)
				}
				r = c.doIn(strings.NewReader(testimage.ServerPassword), "login", "-u", testimage.ServerUser, "--password-stdin", server.Host)
				matches(t, "login", r.stdout, "Login Succeeded")
				c.ok("pull", "-q", name)
				c.ok("rmi", name)
				matches(t, "logout", c.ok("logout", server.Host), "Removing login credentials for "+server.Host)
				matches(t, "after logout", c.fails(1, "pull", name), `(no basic auth credentials|pull access denied|unauthorized|authorization failed|denied)`)
			})
		})
	}
}

// pushPrivate stores an image in a registry that asks for credentials, with
// credentials as an old config.json has them.
func (c *cli) pushPrivate(t *testing.T, server *testimage.Server, auth string) string {
	t.Helper()
	img, mark := unique(t, testimage.Docker, testimage.Gzip)
	reg := server.Registry()
	reg.Username, reg.Password = testimage.ServerUser, testimage.ServerPassword
	name := server.Host + "/team/" + mark + ":v1"
	if auth == "basic" {
		if err := reg.Push(t.Context(), "team/"+mark, "v1", img); err != nil {
			t.Fatal(err)
		}
		return name
	}
	config := filepath.Join(c.home, ".docker", "config.json")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString([]byte(testimage.ServerUser + ":" + testimage.ServerPassword))
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, server.Host, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("load", "-q", "-i", archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: img, Names: []string{name}}))
	c.ok("push", name)
	c.ok("rmi", name)
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestImages(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		img, mark := unique(t, testimage.Docker, testimage.Gzip)
		c.forget(mark+":v1", mark+":v2")
		c.ok("load", "-q", "-i", archive(t, testimage.WriteDockerArchive, testimage.Tagged{Image: img, Names: []string{mark + ":v1"}}))
		equal(t, "quiet", c.ok("images", "-q", mark), short(img.ID()))
		equal(t, "quiet, whole", c.ok("images", "-q", "--no-trunc", mark), img.ID())
		c.ok("tag", mark+":v1", mark+":v2")
		equal(t, "template", c.ok("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", mark), mark+":v1 "+short(img.ID())+"\n"+mark+":v2 "+short(img.ID()))
		equal(t, "reference filter", c.ok("images", "--filter", "reference="+mark+":v2", "--format", "{{.Tag}}"), "v2")
		matches(t, "both names by ID", c.fails(1, "rmi", short(img.ID())), `Error response from daemon: conflict: unable to delete `+short(img.ID())+` \(must be forced\) - image is referenced in multiple repositories`)
		equal(t, "untag", c.ok("rmi", mark+":v2"), "Untagged: "+mark+":v2")
		user := c.container()
		c.ok("create", "--name", user, mark+":v1", "true")
		id := short(c.ok("inspect", "-f", "{{.Id}}", user))
		matches(t, "in use", c.fails(1, "rmi", mark+":v1"), `Error response from daemon: conflict: unable to remove repository reference "`+mark+`:v1" \(must force\) - container `+id+` is using its referenced image `+short(img.ID()))
		c.ok("rm", user)
		matches(t, "rmi", c.ok("rmi", mark+":v1"), `(?s)^Untagged: `+mark+`:v1\nDeleted: `+img.ID())
		matches(t, "gone", c.fails(1, "rmi", mark+":v1"), `No such image: `+mark+`:v1`)
	})
}

// TestImagesTable looks at the old client's table: newer ones have other columns.
func TestImagesTable(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		out := c.ok("images", "--format", "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}", "busybox")
		matches(t, "table", out, `^REPOSITORY +TAG +IMAGE ID +SIZE\nbusybox +latest +`+short(world.images["busybox"])+` +[\d.]+MB$`)
	})
}

func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "created by", c.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"), "testimage layer 1\ntestimage layer 0")
	})
}

func TestImageInspect(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		equal(t, "config", c.ok("image", "inspect", "-f", "{{.Config.User}} {{.Config.WorkingDir}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.StopSignal}} {{.Config.ExposedPorts}} {{.Config.Volumes}}", "app"),
			"app /srv/app [/bin/entry] [default arguments] SIGQUIT map[8080/tcp:{}] map[/data:{}]")
		equal(t, "label", c.ok("image", "inspect", "-f", `{{index .Config.Labels "org.example.purpose"}}`, "app"), "testing")
		equal(t, "health check", c.ok("image", "inspect", "-f", "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Retries}}", "app"), "[CMD-SHELL test -e /tmp/healthy] 2")
		r := c.do("image", "inspect", "no-such-image")
		matches(t, "unknown", r.stderr, `(?i)^Error( response from daemon)?: no such image: no-such-image`)
		if r.code != 1 {
			t.Errorf("exit code %d, want 1", r.code)
		}
	})
}
