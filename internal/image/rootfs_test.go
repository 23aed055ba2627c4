package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

func TestRootfsLifecycle(t *testing.T) {
	for _, driver := range []string{driverOverlay, driverNative} {
		t.Run(driver, func(t *testing.T) {
			root := t.TempDir()
			s := openService(t, Options{Root: root, Driver: driver})
			img := layered(t, testimage.OCI)
			loadImage(t, s, img, "x:1")
			at := prepare(t, s, "c1", "x:1")
			if err := os.WriteFile(at+"/mine", make([]byte, 100_000), 0o644); err != nil {
				t.Fatal(err)
			}
			resolved, err := s.Resolve(t.Context(), "x:1", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.PrepareRootfs(t.Context(), "c1", resolved, nil); !errs.Is(err, errs.Conflict) {
				t.Errorf("second of the same name: %v", err)
			}
			for _, bad := range []string{"", ".x", "a/b", "../x"} {
				if err := s.PrepareRootfs(t.Context(), bad, resolved, nil); !errs.Is(err, errs.InvalidArgument) {
					t.Errorf("key %q: %v", bad, err)
				}
			}
			rw, total, err := s.RootfsUsage(t.Context(), "c1")
			if err != nil || rw < 100_000 || total < rw {
				t.Errorf("usage %d of %d, err %v", rw, total, err)
			}
			if _, err := s.RootfsMounts(t.Context(), "none"); !errs.Is(err, errs.NotFound) {
				t.Errorf("mounts of an unknown one: %v", err)
			}
			closeService(s)

			s = openService(t, Options{Root: root, Driver: driver})
			keys, err := s.RootfsKeys(t.Context())
			if err != nil || !slices.Equal(keys, []string{"c1"}) {
				t.Errorf("keys %v, err %v", keys, err)
			}
			at = mountRootfs(t, s, "c1")
			if fi, err := os.Stat(at + "/mine"); err != nil || fi.Size() != 100_000 {
				t.Errorf("after a restart: %v, err %v", fi, err)
			}
			if got := readFile(t, at+"/layers/changed"); got != "top\n" {
				t.Errorf("after a restart: %q", got)
			}
			for range 2 {
				if err := s.RemoveRootfs(t.Context(), "c1"); err != nil {
					t.Fatal(err)
				}
			}
			within(t, 5*time.Second, "the layer's space", func() bool {
				names, err := os.ReadDir(filepath.Join(root, "rootfs", trashDir))
				return err == nil && len(names) == 0
			})
		})
	}
}

// What a power loss or a broken disk leaves of one container's root is no
// reason not to start: the others work, and its own files stay.
func TestDamagedRootfs(t *testing.T) {
	root := t.TempDir()
	s := openService(t, Options{Root: root})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	img, err := s.Resolve(t.Context(), "x:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func(at string) error{
		"empty":    func(at string) error { return os.WriteFile(at, nil, 0o600) },
		"zeros":    func(at string) error { return os.WriteFile(at, make([]byte, 190), 0o600) },
		"digest":   func(at string) error { return os.Symlink(`{"chain":"sha256:0"}`, at) },
		"link":     func(at string) error { return os.Symlink("{", at) },
		"no file":  func(at string) error { return os.Mkdir(at, 0o700) },
		"old file": func(at string) error { return os.WriteFile(at, fmt.Appendf(nil, `{"chain":%q}`, img.ChainID), 0o600) },
	}
	for key, fn := range damage {
		if err := s.PrepareRootfs(t.Context(), key, img, nil); err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(root, "rootfs", key, "base")
		if err := errors.Join(os.Remove(base), fn(base), os.WriteFile(filepath.Join(root, "rootfs", key, "fs/mine"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	prepare(t, s, "good", "x:1")
	if err := os.WriteFile(filepath.Join(root, "rootfs", "stray"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closeService(s)

	s = openService(t, Options{Root: root})
	if keys := s.leftKeys(t); len(keys) != len(damage)+1 {
		t.Errorf("keys %q", keys)
	}
	mountRootfs(t, s, "good")
	if got := readFile(t, mountRootfs(t, s, "old file")+"/layers/changed"); got != "top\n" {
		t.Errorf("content %q", got)
	}
	delete(damage, "old file")
	for key := range damage {
		_, err := s.RootfsMounts(t.Context(), key)
		if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), filepath.Join(root, "rootfs", key, "fs")) {
			t.Errorf("%s: mounts: %v", key, err)
		}
		if _, err := s.Commit(t.Context(), engine.ImageCommit{Key: key}); !errors.Is(err, errDamaged) {
			t.Errorf("%s: commit: %v", key, err)
		}
		if rw, total, err := s.RootfsUsage(t.Context(), key); err != nil || rw == 0 || total != rw {
			t.Errorf("%s: usage %d of %d, %v", key, rw, total, err)
		}
		if got := readFile(t, filepath.Join(root, "rootfs", key, "fs/mine")); got != "x" {
			t.Errorf("%s: the container's file has %q", key, got)
		}
		if err := errors.Join(s.collect(t.Context()), s.RemoveRootfs(t.Context(), key)); err != nil {
			t.Errorf("%s: remove: %v", key, err)
		}
		if _, err := os.Lstat(filepath.Join(root, "rootfs", key)); !os.IsNotExist(err) {
			t.Errorf("%s: is not removed: %v", key, err)
		}
	}
}

// The layers below a damaged rootfs stay: somebody may repair it.
func TestDamagedRootfsKeepsLayers(t *testing.T) {
	root := t.TempDir()
	s := openService(t, Options{Root: root})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	prepare(t, s, "c", "x:1")
	chain := s.rootfs.entries["c"].base.Chain
	if _, err := s.Remove(t.Context(), "x:1", engine.ImageRemove{Force: true}); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, "rootfs/c/base")
	text, err := os.Readlink(at)
	if err := errors.Join(err, os.Remove(at), os.WriteFile(at, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	closeService(s)
	s = openService(t, Options{Root: root})
	if err := s.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.layerDirs(scoped(t.Context()), chain); err != nil {
		t.Errorf("the layers: %v", err)
	}
	closeService(s)
	if err := errors.Join(os.Remove(at), os.Symlink(text, at)); err != nil {
		t.Fatal(err)
	}
	s = openService(t, Options{Root: root})
	if got := readFile(t, mountRootfs(t, s, "c")+"/layers/changed"); got != "top\n" {
		t.Errorf("content %q", got)
	}
}

// What a rootfs stands on is part of its directory's metadata, not the content
// of a file, which a file system may write long after the directory.
func TestBaseIsMetadata(t *testing.T) {
	s := openService(t, Options{})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	prepare(t, s, "c", "x:1")
	err := filepath.WalkDir(filepath.Join(s.rootfs.root, "c"), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			t.Errorf("%s is a file", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// An image without layers gives an empty, writable root.
func TestRootfsOfEmptyImage(t *testing.T) {
	s := openService(t, Options{})
	img, err := testimage.New(testimage.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	loadImage(t, s, img, "empty:1")
	at := prepare(t, s, "c", "empty:1")
	if err := os.WriteFile(at+"/x", nil, 0o644); err != nil {
		t.Error(err)
	}
}

// An image whose layers are not unpacked is unpacked when a container needs it.
func TestRootfsUnpacksAgain(t *testing.T) {
	s := openService(t, Options{})
	img := layered(t, testimage.OCI)
	loadImage(t, s, img, "x:1")
	e := s.index.Load().byID[mustDigest(img.ID())]
	for _, l := range slices.Backward(e.layers) {
		if err := s.Snapshotter.Remove(scoped(t.Context()), l.chainID.String()); err != nil {
			t.Fatal(err)
		}
	}
	at := prepare(t, s, "c", "x:1")
	if got := readFile(t, at+"/layers/changed"); got != "top\n" {
		t.Errorf("content %q", got)
	}
	if err := s.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dirs, err := s.layerDirs(scoped(t.Context()), e.chain()); err != nil || len(dirs) != len(img.Layers) {
		t.Errorf("after a collection: %v, err %v", dirs, err)
	}
}

// What Resolve and Inspect give is the caller's to change.
func TestResolveGivesCopies(t *testing.T) {
	s := openService(t, Options{})
	app, err := testimage.App(testimage.OCI)
	if err != nil {
		t.Fatal(err)
	}
	loadImage(t, s, app, "app:1")
	for range 2 {
		img, err := s.Resolve(t.Context(), "app:1", nil)
		if err != nil || img.Config.Labels["org.example.level"] != "1" || img.Config.Env[1] != "GREETING=hello from the image" || img.Health.Retries != 2 {
			t.Fatalf("%+v, err %v", img, err)
		}
		img.Config.Labels["org.example.level"], img.Config.Env[1], img.Health.Retries = "2", "changed", 5
		e, err := s.Inspect(t.Context(), "app:1")
		if err != nil || e.Config.Labels["org.example.level"] != "1" || e.Config.Env[1] != "GREETING=hello from the image" {
			t.Fatalf("%+v, err %v", e.Config, err)
		}
		e.Config.Labels["org.example.level"], e.Config.Env[1] = "3", "changed"
	}
}

// What a container stands on survives the forced removal of its image, a
// collection and a restart.
func TestRootfsKeepsLayers(t *testing.T) {
	root := t.TempDir()
	s := openService(t, Options{Root: root})
	img := layered(t, testimage.OCI)
	loadImage(t, s, img, "x:1")
	prepare(t, s, "c", "x:1")
	if _, err := s.Remove(t.Context(), "x:1", engine.ImageRemove{Force: true}); err != nil {
		t.Fatal(err)
	}
	closeService(s)
	s = openService(t, Options{Root: root})
	if err := s.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := mountRootfs(t, s, "c")
	if got := readFile(t, at+"/layers/changed"); got != "top\n" {
		t.Errorf("content %q", got)
	}
	if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "nothing left", func() bool { return len(leftovers(t, s)) == 0 })
}

// Containers come and go while images are loaded, removed and collected.
func TestRootfsAgainstCollections(t *testing.T) {
	s := openService(t, Options{})
	img := layered(t, testimage.OCI)
	loadImage(t, s, img, "x:1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("c%d-%d", w, i)
				resolved, err := s.Resolve(t.Context(), "x:1", nil)
				if errs.Is(err, errs.NotFound) {
					continue
				}
				if err == nil {
					err = s.PrepareRootfs(t.Context(), key, resolved, nil)
				}
				if errs.Is(err, errs.NotFound) {
					continue // removed in between
				}
				if err != nil {
					t.Error(err)
					return
				}
				mounts, err := s.RootfsMounts(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range mounts[0].Options {
					if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
						for _, dir := range strings.Split(lower, ":") {
							if _, err := os.Stat(dir); err != nil {
								t.Errorf("layer of a container: %v", err)
							}
						}
					}
				}
				if err := s.RemoveRootfs(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		data := string(ociArchive(t, img, "x:1"))
		for ctx.Err() == nil {
			if _, err := s.Remove(t.Context(), "x:1", engine.ImageRemove{Force: true}); err != nil {
				t.Error(err)
			}
			if err := s.Load(t.Context(), strings.NewReader(data), nil, true, &recorder{}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

// Pulls of images that share layers, and of one image, at a time.
func TestPullsAtATime(t *testing.T) {
	srv, reg := startRegistry(t, testimage.ServerOptions{})
	img := layered(t, testimage.OCI)
	publishImage(t, reg, "x", "1", img, nil)
	more, err := testimage.NewLayer(testimage.Gzip, testimage.File{Name: "more", Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := testimage.New(testimage.Spec{Layers: append(slices.Clone(img.Layers), more)})
	publishImage(t, reg, "x", "2", second, err)
	s := openService(t, Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ref := fmt.Sprintf("%s/x:%d", srv.Host, i%2+1)
			if err := s.Pull(t.Context(), engine.ImagePull{Ref: ref}, &recorder{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	at := prepare(t, s, "c", srv.Host+"/x:2")
	if got := readFile(t, at+"/layers/changed") + readFile(t, at+"/more"); got != "top\nx" {
		t.Errorf("content %q", got)
	}
	names, err := os.ReadDir(filepath.Join(s.opts.Root, driverOverlay, "snapshots"))
	if err != nil || len(names) != len(second.Layers) {
		t.Errorf("%d snapshots for %d layers, err %v", len(names), len(second.Layers), err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	s := openService(t, Options{})
	if _, err := New(t.Context(), Options{Root: s.opts.Root}); !errs.Is(err, errs.Conflict) {
		t.Errorf("second opening: %v", err)
	}
}

// crashEnv makes the test binary a daemon that is about to die.
const crashEnv = "GANTRY_TEST_CRASH"

// crashVictim is the process that the crash test kills: it says "ready" and does
// its job again and again. It returns only when something fails.
func crashVictim(job string) error {
	ctx := context.Background()
	job, root, _ := strings.Cut(job, "|")
	root, arg, _ := strings.Cut(root, "|")
	s, err := New(ctx, Options{Root: root})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	switch job {
	case "pull":
		for {
			_ = s.Pull(ctx, engine.ImagePull{Ref: arg}, &recorder{}) // dies in the middle
			_, _ = s.Remove(ctx, arg, engine.ImageRemove{Force: true})
		}
	case "load":
		data, err := os.ReadFile(arg)
		if err != nil {
			return err
		}
		for {
			_ = s.Load(ctx, bytes.NewReader(data), nil, true, &recorder{})
			_, _ = s.Remove(ctx, "x:1", engine.ImageRemove{Force: true})
		}
	case "prepare":
		img, err := s.Resolve(ctx, "x:1", nil)
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			key := fmt.Sprint("k", i)
			if err := s.PrepareRootfs(ctx, key, img, nil); err != nil {
				return err
			}
			if err := s.RemoveRootfs(ctx, key); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("no job %q", job)
}

// Killed at any moment of a pull, load or container, the next process finds a
// store that works and in which nothing is left over.
func TestKilledAtAnyMoment(t *testing.T) {
	srv, reg := startRegistry(t, testimage.ServerOptions{})
	img := layered(t, testimage.OCI)
	publishImage(t, reg, "x", "1", img, nil)
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, ociArchive(t, img, "x:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, job := range []struct{ name, arg string }{{"pull", srv.Host + "/x:1"}, {"load", file}, {"prepare", ""}} {
		root := t.TempDir()
		if job.name == "prepare" {
			s := openService(t, Options{Root: root})
			loadImage(t, s, img, "x:1")
			closeService(s)
		}
		for i := range 8 {
			killAfter(t, job.name+"|"+root+"|"+job.arg, time.Duration(3+17*i)*time.Millisecond)
			s := openService(t, Options{Root: root})
			within(t, 10*time.Second, "clean-up at start", func() bool { return s.gc.armed.Load() })
			for _, name := range s.leftKeys(t) {
				if err := s.RemoveRootfs(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			if job.name != "prepare" {
				for _, e := range s.index.Load().list() {
					if _, err := s.Remove(t.Context(), e.id.String(), engine.ImageRemove{Force: true}); err != nil {
						t.Errorf("%s, kill %d: remove what came: %v", job.name, i, err)
					}
				}
				if _, err := s.Prune(t.Context(), nil); err != nil {
					t.Error(err)
				}
				wantEmpty(t, s)
			} else {
				prepare(t, s, "works", "x:1")
				if err := s.RemoveRootfs(t.Context(), "works"); err != nil {
					t.Error(err)
				}
			}
			within(t, 5*time.Second, "no half-made rootfs", func() bool {
				trash, _ := os.ReadDir(filepath.Join(root, "rootfs", trashDir))
				names, err := os.ReadDir(filepath.Join(root, "rootfs"))
				return err == nil && len(names) == 1 && len(trash) == 0
			})
			closeService(s)
		}
	}
}

func (s *Service) leftKeys(t testing.TB) []string {
	keys, err := s.RootfsKeys(t.Context())
	if err != nil {
		t.Error(err)
	}
	return keys
}

func killAfter(t *testing.T, job string, d time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+job)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Errorf("victim: %v", err)
	}
	time.Sleep(d)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
