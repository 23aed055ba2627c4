package image

import (
	"slices"
	"strings"
	"testing"

	imagetypes "github.com/moby/moby/api/types/image"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testimage"
)

// said writes a removal's answer as the CLI prints it, with image IDs and
// layers by what they are.
func said(out []imagetypes.DeleteResponse, img testimage.Image) string {
	var lines []string
	for _, d := range out {
		switch {
		case d.Untagged != "":
			lines = append(lines, "untagged "+d.Untagged)
		case d.Deleted == img.ID():
			lines = append(lines, "deleted image")
		default:
			lines = append(lines, "deleted layer")
		}
	}
	return strings.Join(lines, ", ")
}

func TestRemoveRules(t *testing.T) {
	img := bigImage(t, 1000)
	short := shortID(mustDigest(img.ID()))
	stopped, running := []User{{ID: "aaaaaaaaaaaabbbb"}}, []User{{ID: "ccccccccccccdddd", Running: true}}
	for _, c := range []struct {
		name  string
		tags  []string
		users []User
		given string
		force bool
		want  string // answer, or error after "!"
		left  []string
	}{
		{"last tag", []string{"x:1"}, nil, "x:1", false, "untagged x:1, deleted image, deleted layer", nil},
		{"default tag", []string{"x:latest"}, nil, "x", false, "untagged x:latest, deleted image, deleted layer", nil},
		{"one of two tags", []string{"x:1", "x:2"}, nil, "x:1", false, "untagged x:1", []string{"x:2"}},
		{"one of two tags in use", []string{"x:1", "x:2"}, running, "x:1", false, "untagged x:1", []string{"x:2"}},
		{"by ID", []string{"x:1"}, nil, img.ID(), false, "untagged x:1, deleted image, deleted layer", nil},
		{"by short ID", []string{"x:1"}, nil, short[:6], false, "untagged x:1, deleted image, deleted layer", nil},
		{"by ID without names", nil, nil, short, false, "deleted image, deleted layer", nil},
		{"by ID with two tags", []string{"x:1", "y:1"}, nil, short, false,
			"!conflict: unable to delete " + short + " (must be forced) - image is referenced in multiple repositories", []string{"x:1", "y:1"}},
		{"by ID with two tags, forced", []string{"x:1", "y:1"}, nil, short, true, "untagged x:1, untagged y:1, deleted image, deleted layer", nil},
		{"last tag, stopped container", []string{"x:1"}, stopped, "x:1", false,
			`!conflict: unable to remove repository reference "x:1" (must force) - container aaaaaaaaaaaa is using its referenced image ` + short, []string{"x:1"}},
		{"last tag, stopped container, forced", []string{"x:1"}, stopped, "x:1", true, "untagged x:1, deleted image, deleted layer", nil},
		{"last tag, running container, forced", []string{"x:1"}, running, "x:1", true, "untagged x:1", []string{}},
		{"by ID, stopped container", []string{"x:1"}, stopped, short, false,
			"!conflict: unable to delete " + short + " (must be forced) - image is being used by stopped container aaaaaaaaaaaa", []string{"x:1"}},
		{"by ID, running container", []string{"x:1"}, running, short, false,
			"!conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container cccccccccccc", []string{"x:1"}},
		{"by ID, running container, forced", []string{"x:1"}, running, short, true,
			"!conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container cccccccccccc", []string{"x:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openService(t, Options{InUse: func(string) []User { return c.users }})
			loadImage(t, s, img, c.tags...)
			out, err := s.Remove(t.Context(), c.given, engine.ImageRemove{Force: c.force})
			if text, wantErr := strings.CutPrefix(c.want, "!"); wantErr {
				if err == nil || err.Error() != text || !errs.Is(err, errs.Conflict) {
					t.Errorf("error %v, want %s", err, text)
				}
			} else if err != nil || said(out, img) != c.want {
				t.Errorf("said %q, err %v, want %q", said(out, img), err, c.want)
			}
			list, err := s.List(t.Context(), false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.left == nil {
				if len(list) != 0 {
					t.Errorf("left %+v", list)
				}
				wantEmpty(t, s)
				return
			}
			if len(list) != 1 || !slices.Equal(list[0].RepoTags, c.left) {
				t.Errorf("left %+v, want tags %v", list, c.left)
			}
		})
	}
}

func TestRemoveUnknown(t *testing.T) {
	s := openService(t, Options{})
	for given, text := range map[string]string{
		"none": "No such image: none:latest", "none:1": "No such image: none:1", "abcdef": "No such image: abcdef:latest",
		"sha256:" + strings.Repeat("0", 64): "No such image: sha256:" + strings.Repeat("0", 64),
	} {
		if _, err := s.Remove(t.Context(), given, engine.ImageRemove{}); !errs.Is(err, errs.NotFound) || err.Error() != text {
			t.Errorf("%s: %v, want %s", given, err, text)
		}
	}
}

// Layers that another image or a container stands on stay.
func TestRemoveSharedLayers(t *testing.T) {
	base, err := testimage.NewLayer(testimage.Gzip, testimage.File{Name: "base", Body: []byte("base")})
	if err != nil {
		t.Fatal(err)
	}
	top, err := testimage.NewLayer(testimage.Gzip, testimage.File{Name: "top", Body: []byte("top")})
	if err != nil {
		t.Fatal(err)
	}
	below, err := testimage.New(testimage.Spec{Layers: []testimage.Layer{base}})
	if err != nil {
		t.Fatal(err)
	}
	above, err := testimage.New(testimage.Spec{Layers: []testimage.Layer{base, top}})
	if err != nil {
		t.Fatal(err)
	}
	s := openService(t, Options{})
	loadImage(t, s, below, "below:1")
	loadImage(t, s, above, "above:1")
	root := prepare(t, s, "c", "above:1")
	out, err := s.Remove(t.Context(), "above:1", engine.ImageRemove{Force: true})
	if err != nil || said(out, above) != "untagged above:1, deleted image" {
		t.Errorf("said %q, err %v", said(out, above), err)
	}
	if got := readFile(t, root+"/top") + readFile(t, root+"/base"); got != "topbase" {
		t.Errorf("the container sees %q", got)
	}
	root = mountRootfs(t, s, "c") // as a restart of the container does
	if got := readFile(t, root+"/top"); got != "top" {
		t.Errorf("the restarted container sees %q", got)
	}
	if err := s.RemoveRootfs(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	out, err = s.Remove(t.Context(), "below:1", engine.ImageRemove{})
	if err != nil || said(out, below) != "untagged below:1, deleted image, deleted layer" {
		t.Errorf("said %q, err %v", said(out, below), err)
	}
	within(t, 5e9, "nothing left", func() bool { return len(leftovers(t, s)) == 0 })
}

func TestTagAndFind(t *testing.T) {
	s := openService(t, Options{})
	img := bigImage(t, 1000)
	loadImage(t, s, img, "x:1")
	for _, target := range []string{"y", "localhost:5000/a/b:c", "x:2"} {
		if err := s.Tag(t.Context(), "x:1", target); err != nil {
			t.Fatal(err)
		}
	}
	id := mustDigest(img.ID())
	manifest := img.Descriptor().Digest.String()
	for _, name := range []string{"x:1", "docker.io/library/x:1", "y", "y:latest", "localhost:5000/a/b:c", id.String(), id.Encoded(), id.Encoded()[:4], "sha256:" + id.Encoded()[:9], manifest, "x@" + manifest, "x:1@" + manifest, "x@" + id.String()} {
		got, err := s.Resolve(t.Context(), name, nil)
		if err != nil || got.ID != img.ID() {
			t.Errorf("%s: %s, err %v", name, got.ID, err)
		}
	}
	for target, kind := range map[string]errs.Kind{"A//b": errs.InvalidArgument, "x@" + manifest: errs.InvalidArgument, "sha256:abc": errs.InvalidArgument} {
		if err := s.Tag(t.Context(), "x:1", target); !errs.Is(err, kind) {
			t.Errorf("tag as %s: %v", target, err)
		}
	}
	if err := s.Tag(t.Context(), "none:1", "z"); !errs.Is(err, errs.NotFound) {
		t.Errorf("tag of an unknown image: %v", err)
	}
	e, err := s.Inspect(t.Context(), "y")
	if err != nil || e.Metadata.LastTagTime.IsZero() || len(e.RepoTags) != 4 {
		t.Errorf("inspect %+v, err %v", e, err)
	}
	h, err := s.History(t.Context(), "y")
	if err != nil || len(h) != 1 || h[0].ID != img.ID() || h[0].Size != 1000 || h[0].CreatedBy != "testimage layer 0" {
		t.Errorf("history %+v, err %v", h, err)
	}
}

func TestListFilters(t *testing.T) {
	s := openService(t, Options{})
	app, err := testimage.App(testimage.OCI)
	if err != nil {
		t.Fatal(err)
	}
	plain := bigImage(t, 1000)
	loadImage(t, s, app, "example.org/app:1", "app:2")
	loadImage(t, s, plain)
	for _, c := range []struct {
		key, value string
		want       string // "app", "plain", "both", "none" or an error after "!"
	}{
		{"dangling", "true", "plain"}, {"dangling", "false", "app"}, {"dangling", "maybe", "!invalid filter 'dangling=[maybe]'"},
		{"label", "org.example.level", "app"}, {"label", "org.example.level=1", "app"}, {"label", "org.example.level=2", "none"},
		{"label!", "org.example.level", "plain"},
		{"reference", "app", "app"}, {"reference", "*/app:1", "app"}, {"reference", "other", "none"}, {"reference", "[", "!invalid filter 'reference=['"},
		{"before", "app:2", "none"}, {"since", "app:2", "none"}, {"before", "gone:1", "!No such image: gone:1"},
		{"until", "1s", "both"}, {"until", "2001-01-01", "none"}, {"until", "x", "!invalid filter 'until=x'"},
		{"colour", "red", "!invalid filter 'colour'"},
	} {
		list, err := s.List(t.Context(), true, engine.Filters{c.key: {c.value}})
		if text, ok := strings.CutPrefix(c.want, "!"); ok {
			if err == nil || err.Error() != text {
				t.Errorf("%s=%s: error %v, want %s", c.key, c.value, err, text)
			}
			continue
		}
		var got []string
		for _, sum := range list {
			got = append(got, map[string]string{app.ID(): "app", plain.ID(): "plain"}[sum.ID])
		}
		slices.Sort(got)
		want := map[string][]string{"app": {"app"}, "plain": {"plain"}, "both": {"app", "plain"}}[c.want]
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s=%s: %v, err %v, want %v", c.key, c.value, got, err, want)
		}
	}
	list, err := s.List(t.Context(), false, engine.Filters{"reference": {"app"}})
	if err != nil || len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{"app:2"}) {
		t.Errorf("a reference filter shows %+v, err %v", list, err)
	}
}

func TestPrune(t *testing.T) {
	used := bigImage(t, 2000)
	s := openService(t, Options{InUse: func(id string) []User {
		if id == used.ID() {
			return []User{{ID: "c"}}
		}
		return nil
	}})
	dangling, named := bigImage(t, 1000), bigImage(t, 3000)
	loadImage(t, s, dangling)
	loadImage(t, s, used, "used:1")
	loadImage(t, s, named, "named:1")
	report, err := s.Prune(t.Context(), nil)
	if err != nil || len(report.ImagesDeleted) != 2 || report.ImagesDeleted[0].Deleted != dangling.ID() || report.SpaceReclaimed != 1000 {
		t.Errorf("prune %+v, err %v", report, err)
	}
	report, err = s.Prune(t.Context(), engine.Filters{"dangling": {"false"}})
	if err != nil || len(report.ImagesDeleted) != 3 || report.ImagesDeleted[0].Untagged != "named:1" || report.SpaceReclaimed != 3000 {
		t.Errorf("prune all %+v, err %v", report, err)
	}
	if _, err := s.Prune(t.Context(), engine.Filters{"colour": {"red"}}); !errs.Is(err, errs.InvalidArgument) {
		t.Errorf("unknown filter: %v", err)
	}
	list, err := s.List(t.Context(), false, nil)
	if err != nil || len(list) != 1 || list[0].ID != used.ID() {
		t.Errorf("left %+v, err %v", list, err)
	}
}
