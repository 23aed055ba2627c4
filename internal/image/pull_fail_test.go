package image

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	registrytypes "github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/registry"
	"github.com/gantry-run/gantry/internal/testimage"
)

// bigImage has one incompressible layer of n bytes.
func bigImage(t testing.TB, n int) testimage.Image {
	t.Helper()
	body := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = src.Read(body) // never fails
	l, err := testimage.NewLayer(testimage.Uncompressed, testimage.File{Name: "big", Body: body})
	if err != nil {
		t.Fatal(err)
	}
	img, err := testimage.New(testimage.Spec{Layers: []testimage.Layer{l}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPullMessages(t *testing.T) {
	srv, reg := startRegistry(t, testimage.ServerOptions{})
	images, err := testimage.Platforms(testimage.OCI)
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.PushIndex(t.Context(), "multi", "1", testimage.OCI, images...); err != nil {
		t.Fatal(err)
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close() // its port refuses from now on
	s := openService(t, Options{})
	for _, c := range []struct {
		name, ref string
		platform  *ocispec.Platform
		all       bool
		kind      errs.Kind
		text      string // %s is the reference
	}{
		{"unknown tag", srv.Host + "/multi:none", nil, false, errs.NotFound, "manifest for %s not found: manifest unknown: manifest unknown"},
		{"unknown repository", srv.Host + "/none:1", nil, false, errs.NotFound, "manifest for %s not found: manifest unknown: manifest unknown"},
		{"unknown digest", srv.Host + "/multi@sha256:" + strings.Repeat("0", 64), nil, false, errs.NotFound, "manifest for %s not found: manifest unknown: manifest unknown"},
		{"unknown platform", srv.Host + "/multi:1", &ocispec.Platform{OS: "linux", Architecture: "arm64"}, false, errs.NotFound,
			"no matching manifest for linux/arm64 in the manifest list entries"},
		{"malformed", "UPPER//case", nil, false, errs.InvalidArgument, "invalid reference format"},
		{"upper case", "library/Upper", nil, false, errs.InvalidArgument, "invalid reference format: repository name (library/Upper) must be lowercase"},
		{"reserved", "scratch", nil, false, errs.InvalidArgument, "'scratch' is a reserved name"},
		{"tag and all", srv.Host + "/multi:1", nil, true, errs.InvalidArgument, "tag can't be used with --all-tags/-a"},
		{"nobody there", dead.Addr().String() + "/x:1", nil, false, errs.Internal, "dial tcp " + dead.Addr().String() + ": connect: connection refused"},
		{"no such host", "registry.invalid/x:1", nil, false, errs.Internal, "dial tcp: lookup registry.invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.Pull(t.Context(), engine.ImagePull{Ref: c.ref, Platform: c.platform, All: c.all}, &recorder{})
			if err == nil {
				t.Fatal("no error")
			}
			want := c.text
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, c.ref)
			}
			if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v (%v), want %q (%v)", err, errs.KindOf(err), want, c.kind)
			}
		})
	}
	wantEmpty(t, s)
}

func TestPullPlatform(t *testing.T) {
	srv, reg := startRegistry(t, testimage.ServerOptions{})
	for _, f := range []testimage.Flavour{testimage.OCI, testimage.Docker} {
		images, err := testimage.Platforms(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := reg.PushIndex(t.Context(), "multi", "1", f, images...); err != nil {
			t.Fatal(err)
		}
		s := openService(t, Options{})
		ref := srv.Host + "/multi:1"
		s.mustPull(t, ref)
		img, err := s.Resolve(t.Context(), ref, nil)
		if err != nil || img.ID != images[0].ID() || img.Platform.Architecture != runtime.GOARCH {
			t.Fatalf("resolved %+v, err %v", img, err)
		}
		foreign := &ocispec.Platform{OS: "linux", Architecture: "s390x"}
		if _, err := s.Resolve(t.Context(), ref, foreign); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "does not match the specified platform (linux/s390x)") {
			t.Errorf("another platform gave %v", err)
		}
		if err := s.Pull(t.Context(), engine.ImagePull{Ref: ref, Platform: foreign}, &recorder{}); err != nil {
			t.Fatal(err)
		}
		if img, err = s.Resolve(t.Context(), ref, foreign); err != nil || img.ID != images[1].ID() {
			t.Errorf("foreign image: %+v, err %v", img, err)
		}
		// The tag has moved; the first image is dangling, not gone.
		list, err := s.List(t.Context(), false, engine.Filters{"dangling": {"true"}})
		if err != nil || len(list) != 1 || list[0].ID != images[0].ID() {
			t.Errorf("dangling: %+v, err %v", list, err)
		}
		if _, err := s.Prune(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), ref, engine.ImageRemove{}); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, s)
	}
}

func TestPullAuth(t *testing.T) {
	for _, kind := range []string{"basic", "token"} {
		t.Run(kind, func(t *testing.T) {
			srv, reg := startRegistry(t, testimage.ServerOptions{Auth: kind})
			if kind == "token" {
				reg = pushClient(t, srv, reg)
			}
			img, err := testimage.Busybox(testimage.Docker, testimage.Gzip)
			if err != nil {
				t.Fatal(err)
			}
			if kind == "basic" {
				publishImage(t, reg, "private", "1", img, nil)
			} else {
				pushWithService(t, srv, img)
			}
			s := openService(t, Options{})
			ref := srv.Host + "/private:1"
			try := func(auth registrytypes.AuthConfig) error {
				return s.Pull(t.Context(), engine.ImagePull{Ref: ref, Auth: auth}, &recorder{})
			}
			if err := try(registrytypes.AuthConfig{}); err == nil {
				t.Error("pulled without credentials")
			} else if kind == "basic" && (!errs.Is(err, errs.NotFound) || !strings.HasSuffix(err.Error(), "no basic auth credentials")) ||
				kind == "token" && (!errs.Is(err, errs.NotFound) || !strings.HasPrefix(err.Error(), "pull access denied for "+srv.Host+"/private, repository does not exist or may require 'docker login'")) {
				t.Errorf("without credentials: %v (%v)", err, errs.KindOf(err))
			}
			if err := try(registrytypes.AuthConfig{Username: testimage.ServerUser, Password: "wrong"}); !errs.Is(err, errs.NotFound) {
				t.Errorf("with a wrong password: %v (%v)", err, errs.KindOf(err))
			} else {
				t.Log(err)
			}
			wantEmpty(t, s)
			good := registrytypes.AuthConfig{Username: testimage.ServerUser, Password: testimage.ServerPassword}
			if err := try(good); err != nil {
				t.Errorf("with credentials: %v", err)
			}
			good.ServerAddress = srv.Host
			answer, err := s.Registry().Login(t.Context(), good)
			if err != nil || answer.Status != "Login Succeeded" {
				t.Errorf("login: %+v, %v", answer, err)
			}
			good.Password = "wrong"
			if _, err := s.Registry().Login(t.Context(), good); !errs.Is(err, errs.Unauthorized) {
				t.Errorf("login with a wrong password: %v (%v)", err, errs.KindOf(err))
			}
		})
	}
}

func pushClient(_ testing.TB, _ *testimage.Server, reg testimage.Registry) testimage.Registry {
	return reg
}

// pushWithService brings an image into a registry that wants a token for it.
func pushWithService(t testing.TB, srv *testimage.Server, img testimage.Image) {
	t.Helper()
	s := openService(t, Options{})
	loadImage(t, s, img, srv.Host+"/private:1")
	auth := registrytypes.AuthConfig{Username: testimage.ServerUser, Password: testimage.ServerPassword}
	if err := s.Push(t.Context(), srv.Host+"/private:1", auth, nil, &recorder{}); err != nil {
		t.Fatal(err)
	}
}

func TestPullRetriesBrokenConnections(t *testing.T) {
	f := startFake(t)
	img := bigImage(t, 3<<20)
	f.add("big", "1", img)
	broken := 0
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, img.Layers[0].Digest.String()) || broken == 2 {
			return false
		}
		broken++
		// Promise all, give a part, hang up.
		w.Header().Set("Content-Length", fmt.Sprint(len(img.Layers[0].Blob)))
		_, _ = w.Write(img.Layers[0].Blob[:1<<20])
		panic(http.ErrAbortHandler)
	}
	s := openService(t, Options{})
	s.mustPull(t, f.host+"/big:1")
	if f.count("GET /v2/big/blobs/"+img.Layers[0].Digest.String()+" bytes=") == 0 {
		t.Errorf("no Range request: %q", f.requests)
	}
}

// interrupt pulls a big image and gives up once enough bytes of a layer came.
func interrupt(t *testing.T, s *Service, ref string, enough int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Pull(ctx, engine.ImagePull{Ref: ref}, &recorder{}) }()
	within(t, 10*time.Second, "half a layer", func() bool {
		all, err := s.Content.ListStatuses(scoped(ctx))
		return err == nil && len(all) == 1 && all[0].Offset >= enough
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted pull: %v", err)
	}
}

func TestPullResumesAfterRestart(t *testing.T) {
	f := startFake(t)
	img := bigImage(t, 8<<20)
	f.add("big", "1", img)
	blob := "GET /v2/big/blobs/" + img.Layers[0].Digest.String()
	slow := true
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if slow && strings.Contains(r.URL.Path, img.Layers[0].Digest.String()) {
			w.Header().Set("Content-Length", fmt.Sprint(len(img.Layers[0].Blob)))
			_, _ = w.Write(img.Layers[0].Blob[:5<<20])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	}
	root := t.TempDir()
	s := openService(t, Options{Root: root})
	interrupt(t, s, f.host+"/big:1", 4<<20)
	closeService(s)

	slow = false
	s = openService(t, Options{Root: root})
	within(t, 5e9, "clean-up at start", func() bool { return s.gc.armed.Load() })
	if err := s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/big:1"}, &recorder{}); err != nil {
		t.Fatal(err)
	}
	ranged := slices.IndexFunc(f.requests, func(r string) bool { return strings.HasPrefix(r, blob+" bytes=") })
	if ranged < 0 || strings.HasSuffix(f.requests[ranged], "bytes=0-") {
		t.Errorf("not resumed: %q", f.requests)
	}
}

func TestPruneDropsInterruptedPulls(t *testing.T) {
	f := startFake(t)
	img := bigImage(t, 8<<20)
	f.add("big", "1", img)
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, img.Layers[0].Digest.String()) {
			w.Header().Set("Content-Length", fmt.Sprint(len(img.Layers[0].Blob)))
			_, _ = w.Write(img.Layers[0].Blob[:5<<20])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	}
	s := openService(t, Options{})
	interrupt(t, s, f.host+"/big:1", 4<<20)
	if len(leftovers(t, s)) == 0 {
		t.Fatal("an interrupted pull keeps nothing")
	}
	if _, err := s.Prune(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, s)
}

// A wrong blob, wherever it is, leaves nothing behind.
func TestPullWrongContent(t *testing.T) {
	good := bigImage(t, 1<<20)
	flip := func(data []byte) []byte {
		wrong := slices.Clone(data)
		wrong[len(wrong)/2] ^= 1
		return wrong
	}
	wrongDiff, err := testimage.Busybox(testimage.OCI, testimage.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	other := bigImage(t, 2<<20)
	for _, c := range []struct {
		name   string
		change func(f *fakeRegistry)
		text   string
	}{
		{"layer", func(f *fakeRegistry) {
			p := "/v2/x/blobs/" + good.Layers[0].Digest.String()
			f.docs[p] = fakeDoc{"", flip(good.Layers[0].Blob)}
		}, "filesystem layer verification failed for digest " + good.Layers[0].Digest.String()},
		{"short layer", func(f *fakeRegistry) {
			p := "/v2/x/blobs/" + good.Layers[0].Digest.String()
			f.docs[p] = fakeDoc{"", good.Layers[0].Blob[:1000]}
		}, "unexpected EOF"},
		{"long layer", func(f *fakeRegistry) {
			p := "/v2/x/blobs/" + good.Layers[0].Digest.String()
			f.docs[p] = fakeDoc{"", append(slices.Clone(good.Layers[0].Blob), 0)}
		}, "the registry sends more than "},
		{"config", func(f *fakeRegistry) {
			f.docs["/v2/x/blobs/"+good.ID()] = fakeDoc{"", flip(good.Config)}
		}, "verification failed for digest " + good.ID()},
		{"manifest", func(f *fakeRegistry) {
			p := "/v2/x/manifests/" + good.Descriptor().Digest.String()
			f.docs[p] = fakeDoc{good.Descriptor().MediaType, flip(good.Manifest)}
		}, "verification failed for digest " + good.Descriptor().Digest.String()},
		{"diff ID", func(f *fakeRegistry) {
			f.add("x", "1", crossed(t, good, other))
		}, "the image config wants " + good.Layers[0].DiffID.String()},
		{"layer that is no archive", func(f *fakeRegistry) {
			l, err := testimage.LayerFromTar(testimage.Gzip, []byte(strings.Repeat("no tar ", 200)))
			if err != nil {
				t.Fatal(err)
			}
			img, err := testimage.New(testimage.Spec{Layers: []testimage.Layer{l}})
			if err != nil {
				t.Fatal(err)
			}
			f.add("x", "1", img)
		}, "failed to register layer: archive/tar: invalid tar header"},
		{"schema 1", func(f *fakeRegistry) {
			doc := fakeDoc{"application/vnd.docker.distribution.manifest.v1+prettyjws", []byte("{}")}
			f.docs["/v2/x/manifests/1"] = doc
		}, "unsupported media type application/vnd.docker.distribution.manifest.v1+prettyjws"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startFake(t)
			f.add("x", "1", good)
			c.change(f)
			s := openService(t, Options{Registry: registry.Options{MaxDownloadAttempts: 1}})
			err := s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/x:1"}, &recorder{})
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %q", err, c.text)
			}
			if c.name == "short layer" {
				// That looks like a broken connection: the part is kept.
				if _, err := s.Prune(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			wantEmpty(t, s)
		})
	}
	_ = wrongDiff
}

// Of an answer that does not end, no more than the layer's size is stored.
func TestPullEndlessLayer(t *testing.T) {
	f := startFake(t)
	img := bigImage(t, 1<<20)
	f.add("x", "1", img)
	l := img.Layers[0]
	const enough = 64 << 20
	sent := make(chan int, 1)
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, l.Digest.String()) {
			return false
		}
		n, err := w.Write(l.Blob)
		w.(http.Flusher).Flush() // in chunks, without a length
		for junk := make([]byte, 1<<20); err == nil && n < enough; n += len(junk) {
			_, err = w.Write(junk)
		}
		sent <- n
		return true
	}
	s := openService(t, Options{Registry: registry.Options{MaxDownloadAttempts: 3}})
	err := s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/x:1"}, &recorder{})
	want := "filesystem layer verification failed for digest " + l.Digest.String() + fmt.Sprintf(": the registry sends more than %d bytes", len(l.Blob))
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if n := <-sent; n >= enough {
		t.Errorf("%d bytes were taken", n)
	}
	wantEmpty(t, s)
}

// crossed is an image whose config tells the layers of a, its manifest those of b.
func crossed(t testing.TB, a, b testimage.Image) testimage.Image {
	t.Helper()
	layers := slices.Clone(b.Layers)
	for i := range layers {
		layers[i].DiffID = a.Layers[i].DiffID
	}
	img, err := testimage.New(testimage.Spec{Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A registry that never stops asking for credentials must not hang a pull.
func TestPullAuthLoop(t *testing.T) {
	f := startFake(t)
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = w.Write([]byte(`{"token":"never good"}`))
			return true
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+f.host+`/token",service="x",scope="repository:x:pull",error="insufficient_scope"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return true
	}
	s := openService(t, Options{})
	err := s.Pull(t.Context(), engine.ImagePull{Ref: f.host + "/x:1"}, &recorder{})
	want := "pull access denied for " + f.host + "/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
	if err == nil || err.Error() != want || !errs.Is(err, errs.NotFound) {
		t.Errorf("error %v, want %s", err, want)
	}
	if n := f.count("HEAD"); n > 6 {
		t.Errorf("%d requests", n)
	}
}

func TestHelloWorldWithoutNetwork(t *testing.T) {
	s := openService(t, Options{})
	r := s.mustPull(t, "hello-world")
	r.has(t, "No registry answers, using the copy of hello-world that is built into Gantry")
	r.has(t, "Status: Downloaded newer image for hello-world:latest")
	root := prepare(t, s, "hello", "hello-world")
	fi, err := os.Stat(root + "/hello")
	if err != nil || fi.Mode().Perm() != 0o755 || fi.Size() > 10<<10 {
		t.Errorf("program %v, err %v", fi, err)
	}
	img, err := s.Resolve(t.Context(), "hello-world:latest", nil)
	if err != nil || !slices.Equal(img.Config.Cmd, []string{"/hello"}) || img.Name != "hello-world:latest" {
		t.Errorf("image %+v, err %v", img, err)
	}
	r = s.mustPull(t, "hello-world")
	r.has(t, "Status: Image is up to date for hello-world:latest")
	if err := s.Pull(t.Context(), engine.ImagePull{Ref: "hello-world:linux"}, &recorder{}); err == nil {
		t.Error("another tag has a built-in copy")
	}
}
