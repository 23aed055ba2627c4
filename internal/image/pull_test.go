package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/testimage"
)

func TestPullRunRemove(t *testing.T) {
	srv, reg := startRegistry(t, testimage.ServerOptions{})
	img, err := testimage.Layered(testimage.OCI)
	publishImage(t, reg, "team/layered", "v1", img, err)
	log := &eventLog{}
	s := openService(t, Options{Events: log})
	ref := srv.Host + "/team/layered:v1"
	r := s.mustPull(t, ref)

	lines := r.all()
	if lines[0] != "v1: Pulling from team/layered" {
		t.Errorf("first line %q", lines[0])
	}
	end := []string{"Digest: " + img.Descriptor().Digest.String(), "Status: Downloaded newer image for " + ref}
	if !slices.Equal(lines[len(lines)-2:], end) {
		t.Errorf("last lines %q, want %q", lines[len(lines)-2:], end)
	}
	for _, l := range img.Layers {
		id := shortID(l.Digest)
		var seen []string
		for _, line := range lines {
			if status, ok := strings.CutPrefix(line, id+": "); ok {
				seen = append(seen, status)
			}
		}
		want := []string{"Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"}
		if !slices.Equal(seen, want) {
			t.Errorf("layer %s: %q, want %q", id, seen, want)
		}
		if got := r.bytes[id+" Downloading"]; got != int64(len(l.Blob)) {
			t.Errorf("layer %s: %d bytes downloaded of %d", id, got, len(l.Blob))
		}
	}

	root := prepare(t, s, "one", ref)
	if got := readFile(t, root+"/layers/keep") + readFile(t, root+"/layers/changed") + readFile(t, root+"/layers/turned/file"); got != "bottom\ntop\ntop\n" {
		t.Errorf("layers give %q", got)
	}
	if _, err := os.Stat(root + "/layers/gone"); !os.IsNotExist(err) {
		t.Errorf("a removed file is there: %v", err)
	}
	names, err := os.ReadDir(root + "/layers/opaque")
	if err != nil || len(names) != 1 || names[0].Name() != "new" {
		t.Errorf("opaque directory holds %v, err %v", names, err)
	}

	again := s.mustPull(t, ref)
	again.has(t, "Status: Image is up to date for "+ref)

	list, err := s.List(t.Context(), false, nil)
	if err != nil || len(list) != 1 || list[0].ID != img.ID() || list[0].RepoTags[0] != ref {
		t.Fatalf("list %+v, err %v", list, err)
	}
	if want := srv.Host + "/team/layered@" + img.Descriptor().Digest.String(); !slices.Equal(list[0].RepoDigests, []string{want}) {
		t.Errorf("digests %v, want %s", list[0].RepoDigests, want)
	}

	if err := s.RemoveRootfs(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	gone, err := s.Remove(t.Context(), ref, engine.ImageRemove{})
	if err != nil {
		t.Fatal(err)
	}
	if gone[0].Untagged != ref || gone[1].Untagged != list[0].RepoDigests[0] || gone[2].Deleted != img.ID() || len(gone) != 3+len(img.Layers) {
		t.Errorf("removal says %+v", gone)
	}
	within(t, 5e9, "everything gone", func() bool { return len(leftovers(t, s)) == 0 })
	if used := diskUsage(t, filepath.Join(s.opts.Root, "content")); used != 0 {
		t.Errorf("%d bytes of content are left", used)
	}
	want := []string{
		"image pull " + ref + " " + srv.Host + "/team/layered", "image pull " + ref + " " + srv.Host + "/team/layered",
		"image untag " + img.ID() + " " + img.ID(), "image untag " + img.ID() + " " + img.ID(), "image delete " + img.ID() + " " + img.ID(),
	}
	if !slices.Equal(log.list, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(log.list, "\n"), strings.Join(want, "\n"))
	}
}
