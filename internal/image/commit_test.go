package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

func TestApplyChanges(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{"ENV A=1 B=\"two words\"", "ENV C ${A}${B}"}, `{"Env":["X=0","A=1","B=two words","C=1two words"],"Cmd":["old"]}`},
		{[]string{"ENV X=new"}, `{"Env":["X=new"],"Cmd":["old"]}`},
		{[]string{"CMD [\"a\",\"b c\"]"}, `{"Env":["X=0"],"Cmd":["a","b c"]}`},
		{[]string{"CMD a b"}, `{"Env":["X=0"],"Cmd":["/bin/sh","-c","a b"]}`},
		{[]string{"ENTRYPOINT [\"e\"]"}, `{"Env":["X=0"],"Entrypoint":["e"]}`},
		{[]string{"CMD [\"a\"]", "ENTRYPOINT e f"}, `{"Env":["X=0"],"Entrypoint":["/bin/sh","-c","e f"],"Cmd":["a"]}`},
		{[]string{"EXPOSE 80 53/udp"}, `{"ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["X=0"],"Cmd":["old"]}`},
		{[]string{"label a=$X b=\"c d\""}, `{"Env":["X=0"],"Cmd":["old"],"Labels":{"a":"0","b":"c d"}}`},
		{[]string{"USER me", "WORKDIR /a", "WORKDIR b", "VOLUME /v /w", "STOPSIGNAL SIGQUIT", "ONBUILD RUN x"},
			`{"User":"me","Env":["X=0"],"Cmd":["old"],"Volumes":{"/v":{},"/w":{}},"WorkingDir":"/a/b","StopSignal":"SIGQUIT","OnBuild":["RUN x"]}`},
		{[]string{"HEALTHCHECK --interval=5s CMD true"}, `{"Env":["X=0"],"Cmd":["old"],"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000}}`},
	} {
		config := dockerspec.DockerOCIImageConfig{}
		config.Env, config.Cmd = []string{"X=0"}, []string{"old"}
		err := applyChanges(&config, c.lines)
		got, jerr := json.Marshal(config)
		if err != nil || jerr != nil || string(got) != c.want {
			t.Errorf("%q: %s %v\nwant %s", c.lines, got, err, c.want)
		}
	}
	for _, bad := range []string{"RUN x", "FROM y", "COPY a b", "CMD [", "ENV", "EXPOSE x", "VOLUME \"\"", "HEALTHCHECK --interval=x CMD y", "nonsense"} {
		if err := applyChanges(&dockerspec.DockerOCIImageConfig{}, []string{bad}); bad != "CMD [" && !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// fileImage makes an image of one layer with files.
func fileImage(t *testing.T, f testimage.Flavour, names ...string) testimage.Image {
	t.Helper()
	var files []testimage.File
	for _, n := range names {
		files = append(files, testimage.File{Name: n, Body: []byte(n)})
	}
	l, err := testimage.NewLayer(testimage.Gzip, files...)
	if err != nil {
		t.Fatal(err)
	}
	img, err := testimage.New(testimage.Spec{Flavour: f, Layers: []testimage.Layer{l}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A committed layer has what was added and changed, and hides what was removed.
func TestCommit(t *testing.T) {
	for _, driver := range []string{driverOverlay, driverNative} {
		t.Run(driver, func(t *testing.T) {
			log := &eventLog{}
			s := openService(t, Options{Driver: driver, Events: log})
			loadImage(t, s, fileImage(t, testimage.Docker, "etc/keep", "etc/gone", "dir/a", "dir/b"), "base:1")
			at := prepare(t, s, "c1", "base:1")
			for _, err := range []error{
				os.WriteFile(at+"/new", []byte("new"), 0o640), os.Chown(at+"/new", 12, 34),
				os.WriteFile(at+"/etc/keep", []byte("changed"), 0o644), os.Remove(at + "/etc/gone"),
				os.RemoveAll(at + "/dir"), os.Mkdir(at+"/dir", 0o700), os.WriteFile(at+"/dir/c", []byte("c"), 0o644),
				os.WriteFile(at+"/.ours", nil, 0o644), os.Link(at+"/new", at+"/hard"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			config := dockerspec.DockerOCIImageConfig{}
			config.Cmd = []string{"sh"}
			id, err := s.Commit(t.Context(), engine.ImageCommit{
				Key: "c1", Skip: map[string]bool{"/.ours": true}, Config: config, Changes: []string{"ENV A=b"},
				Ref: "made:1", Author: "me", Comment: "why", CreatedBy: "sh -c x",
			})
			if err != nil {
				t.Fatal(err)
			}
			made, err := s.Inspect(t.Context(), "made:1")
			if err != nil {
				t.Fatal(err)
			}
			if made.ID != id || made.Author != "me" || len(made.RootFS.Layers) != 2 || !slices.Equal(made.Config.Env, []string{"A=b"}) || made.Config.Cmd[0] != "sh" {
				t.Errorf("%+v", made)
			}
			h, err := s.History(t.Context(), "made:1")
			if err != nil || h[0].Comment != "why" || h[0].CreatedBy != "sh -c x" {
				t.Errorf("%+v %v", h, err)
			}
			if !slices.Contains(log.list, "image tag "+id+" made:1") {
				t.Errorf("events %q", log.list)
			}
			got := prepare(t, s, "c2", "made:1")
			out, err := exec.Command("sh", "-c", "cd "+got+"; find . -mindepth 1 | sort | tr '\\n' ' '; cat new etc/keep dir/c; stat -c ' %u %g %a %h' new; stat -c %a dir").CombinedOutput()
			if want := "./dir ./dir/c ./etc ./etc/keep ./hard ./new newchangedc 12 34 640 2\n700\n"; err != nil || string(out) != want {
				t.Errorf("%s\nwant %s (%v)", out, want, err)
			}
			// Everything of it can be saved and loaded elsewhere.
			var archive bytes.Buffer
			if err := s.Save(t.Context(), []string{"made:1"}, nil, &archive); err != nil {
				t.Fatal(err)
			}
			other := openService(t, Options{Driver: driver})
			if err := other.Load(t.Context(), &archive, nil, true, &recorder{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCommitWithoutChanges(t *testing.T) {
	s := openService(t, Options{})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	prepare(t, s, "c1", "x:1")
	id, err := s.Commit(t.Context(), engine.ImageCommit{Key: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Inspect(t.Context(), "x:1")
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Inspect(t.Context(), id)
	if err != nil || !slices.Equal(after.RootFS.Layers, before.RootFS.Layers) || after.ID == before.ID {
		t.Errorf("%+v became %+v, %v", before.RootFS, after.RootFS, err)
	}
}

// swapper calls swap once data comes.
type swapper struct {
	bytes.Buffer
	swap func() error
	err  error
}

func (s *swapper) Write(p []byte) (int, error) {
	if s.swap != nil {
		s.err, s.swap = s.swap(), nil
	}
	return s.Buffer.Write(p)
}

// A container that runs while it is committed cannot bring in files of the host.
func TestCommitStaysInside(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, driver := range []string{driverOverlay, driverNative} {
		s := openService(t, Options{Driver: driver})
		loadImage(t, s, layered(t, testimage.OCI), "x:1")
		at := prepare(t, s, "c", "x:1")
		for _, err := range []error{
			os.WriteFile(at+"/a", make([]byte, 1<<20), 0o644), os.Mkdir(at+"/d", 0o755), os.WriteFile(at+"/d/secret", nil, 0o644),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		w, err := s.writable(scoped(t.Context()), "c")
		if err != nil {
			t.Fatal(err)
		}
		out := &swapper{swap: func() error { return errors.Join(os.RemoveAll(at+"/d"), os.Symlink(outside, at+"/d")) }}
		if _, err := s.rootfs.diff(scoped(t.Context()), "c", w, nil, out); err != nil || out.err != nil {
			t.Fatalf("%v, %v", err, out.err)
		}
		names := tarNames(t, out.Bytes())
		if !slices.Contains(names, "d") || slices.Contains(names, "d/secret") {
			t.Errorf("%s: packed %q", driver, names)
		}
	}
}

// The image may be gone: the container has kept its layers.
func TestCommitAfterTheImageIsRemoved(t *testing.T) {
	s := openService(t, Options{})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	at := prepare(t, s, "c1", "x:1")
	if err := os.WriteFile(at+"/new", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "x:1", engine.ImageRemove{Force: true}); err != nil {
		t.Fatal(err)
	}
	id, err := s.Commit(t.Context(), engine.ImageCommit{Key: "c1", Ref: "y"})
	if err != nil {
		t.Fatal(err)
	}
	if made, err := s.Inspect(t.Context(), "y:latest"); err != nil || made.ID != id {
		t.Errorf("%+v %v", made, err)
	}
}

func TestCommitErrors(t *testing.T) {
	s := openService(t, Options{})
	loadImage(t, s, layered(t, testimage.OCI), "x:1")
	at := prepare(t, s, "c1", "x:1")
	if err := os.WriteFile(at+"/new", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := strings.Join(leftovers(t, s), "\n")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		req  engine.ImageCommit
		kind errs.Kind
	}{
		"unknown":   {t.Context(), engine.ImageCommit{Key: "none"}, errs.NotFound},
		"name":      {t.Context(), engine.ImageCommit{Key: "c1", Ref: "UPPER"}, errs.InvalidArgument},
		"digest":    {t.Context(), engine.ImageCommit{Key: "c1", Ref: "x@sha256:" + strings.Repeat("0", 64)}, errs.InvalidArgument},
		"change":    {t.Context(), engine.ImageCommit{Key: "c1", Changes: []string{"RUN x"}}, errs.InvalidArgument},
		"cancelled": {cancelled, engine.ImageCommit{Key: "c1"}, errs.Internal},
	} {
		if _, err := s.Commit(c.ctx, c.req); err == nil || errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := strings.Join(leftovers(t, s), "\n"); after != before {
		t.Errorf("the store has %s, not %s", after, before)
	}
}

func TestImport(t *testing.T) {
	s := openService(t, Options{})
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for name, body := range map[string]string{"etc/f": "hello", "g": "a shell"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, how := range [][]string{nil, {"gzip"}, {"xz"}, {"zstd", "-q"}, {"bzip2"}} {
		data := plain.Bytes()
		if how != nil {
			data = squeeze(t, data, append(how, "-c")...)
		}
		id, err := s.Import(t.Context(), engine.ImageImport{Ref: "imported:1", Message: "from here", Changes: []string{"CMD [\"/g\"]"}}, bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%v: %v", how, err)
		}
		made, err := s.Inspect(t.Context(), "imported:1")
		if err != nil || made.ID != id || !slices.Equal(made.Config.Cmd, []string{"/g"}) || made.Os != "linux" || len(made.RootFS.Layers) != 1 {
			t.Errorf("%v: %+v %v", how, made, err)
		}
	}
	at := prepare(t, s, "c", "imported:1")
	if data, err := os.ReadFile(filepath.Join(at, "etc/f")); err != nil || string(data) != "hello" {
		t.Errorf("%q %v", data, err)
	}
	before := strings.Join(leftovers(t, s), "\n")
	for name, bad := range map[string]string{"nothing": "", "garbage": strings.Repeat("x", 2000), "cut": string(plain.Bytes()[:515])} {
		if _, err := s.Import(t.Context(), engine.ImageImport{Ref: "bad"}, strings.NewReader(bad)); err == nil {
			t.Errorf("%s was imported", name)
		}
	}
	if after := strings.Join(leftovers(t, s), "\n"); after != before {
		t.Errorf("the store has %s, not %s", after, before)
	}
}
