package image

import (
	"slices"
	"strings"
	"testing"

	registrytypes "github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

func TestPush(t *testing.T) {
	srv, _ := startRegistry(t, testimage.ServerOptions{})
	img := layered(t, testimage.OCI)
	s := openService(t, Options{})
	ref := srv.Host + "/team/x:1"
	loadImage(t, s, img, ref)
	r := &recorder{}
	if err := s.Push(t.Context(), ref, registrytypes.AuthConfig{}, nil, r); err != nil {
		t.Fatal(err)
	}
	lines := r.all()
	if want := "The push refers to repository [" + srv.Host + "/team/x]"; lines[0] != want {
		t.Errorf("first line %q, want %q", lines[0], want)
	}
	d := img.Descriptor()
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "1: digest: "+d.Digest.String()+" size: ") {
		t.Errorf("last line %q", last)
	}
	for _, l := range img.Layers {
		for _, status := range []string{"Preparing", "Pushed"} {
			r.has(t, shortID(l.DiffID)+": "+status)
		}
	}
	list, err := s.List(t.Context(), false, nil)
	if err != nil || !slices.Equal(list[0].RepoDigests, []string{srv.Host + "/team/x@" + d.Digest.String()}) {
		t.Errorf("digests %v, err %v", list[0].RepoDigests, err)
	}

	r = &recorder{}
	if err := s.Push(t.Context(), ref, registrytypes.AuthConfig{}, nil, r); err != nil {
		t.Fatal(err)
	}
	r.has(t, shortID(img.Layers[0].DiffID)+": Layer already exists")

	other := openService(t, Options{})
	other.mustPull(t, ref)
	if e, err := other.Inspect(t.Context(), ref); err != nil || e.ID != img.ID() {
		t.Errorf("pulled %s, err %v", e.ID, err)
	}
	// What came from one repository is mounted into another.
	if err := other.Tag(t.Context(), ref, srv.Host+"/mounted:1"); err != nil {
		t.Fatal(err)
	}
	r = &recorder{}
	if err := other.Push(t.Context(), srv.Host+"/mounted:1", registrytypes.AuthConfig{}, nil, r); err != nil {
		t.Fatal(err)
	}
	r.has(t, shortID(img.Layers[0].DiffID)+": Mounted from "+srv.Host+"/team/x")
}

func TestPushAllTags(t *testing.T) {
	srv, _ := startRegistry(t, testimage.ServerOptions{})
	s := openService(t, Options{})
	loadImage(t, s, bigImage(t, 1000), srv.Host+"/x:1", srv.Host+"/x:2")
	if err := s.Push(t.Context(), srv.Host+"/x", registrytypes.AuthConfig{}, nil, &recorder{}); err != nil {
		t.Fatal(err)
	}
	other := openService(t, Options{})
	if err := other.Pull(t.Context(), engine.ImagePull{Ref: srv.Host + "/x", All: true}, &recorder{}); err != nil {
		t.Fatal(err)
	}
	list, err := other.List(t.Context(), false, nil)
	if err != nil || len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{srv.Host + "/x:1", srv.Host + "/x:2"}) {
		t.Errorf("list %+v, err %v", list, err)
	}
}

func TestPushRefusals(t *testing.T) {
	srv, _ := startRegistry(t, testimage.ServerOptions{Auth: "basic"})
	s := openService(t, Options{})
	loadImage(t, s, bigImage(t, 1000), srv.Host+"/x:1")
	for _, c := range []struct {
		ref      string
		platform *ocispec.Platform
		kind     errs.Kind
		text     string
	}{
		{srv.Host + "/none:1", nil, errs.NotFound, "An image does not exist locally with the tag: " + srv.Host + "/none"},
		{"A//b", nil, errs.InvalidArgument, "invalid reference format"},
		{srv.Host + "/x@sha256:" + strings.Repeat("0", 64), nil, errs.InvalidArgument, "cannot push a digest reference"},
		{srv.Host + "/x:1", &ocispec.Platform{OS: "linux", Architecture: "s390x"}, errs.NotFound, "does not provide the specified platform (linux/s390x)"},
		{srv.Host + "/x:1", nil, errs.NotFound, "no basic auth credentials"},
	} {
		err := s.Push(t.Context(), c.ref, registrytypes.AuthConfig{}, c.platform, &recorder{})
		if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v (%v), want %q (%v)", c.ref, err, errs.KindOf(err), c.text, c.kind)
		}
	}
}
