package container

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/gantry-run/gantry/internal/errs"
)

// TestRemovalGoesOnAfterACrash: a container whose removal has begun does not come
// back without a root, and its volumes have the fate that was asked for.
func TestRemovalGoesOnAfterACrash(t *testing.T) {
	for _, c := range []struct {
		name       string
		autoRemove bool
		status     container.ContainerState
		volumes    bool // as asked for
		gone       bool // the volume
	}{
		{"rm", false, container.StateExited, false, false},
		{"rm -v", false, container.StateExited, true, true},
		{"rm of a created container with --rm", true, container.StateCreated, false, false},
		{"--rm", true, container.StateExited, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, x := newService(t, &fakeSupervisor{}, func(r *record) {
				r.Host.AutoRemove, r.State.Status = c.autoRemove, c.status
				r.Mounts = []mountPoint{{Type: mount.TypeVolume, Name: "v", Anonymous: true}}
			})
			root, volumes := s.Images.(*fakeRootfs), s.Volumes.(*fakeVolumes)
			root.removing = func(string) {
				root.removing = nil
				n := s.next(t) // sees what a daemon killed here would leave
				if _, err := n.find("x"); !errs.Is(err, errs.NotFound) {
					t.Errorf("find it: %v", err)
				}
				if _, err := os.Stat(s.store.dir(x.rec.ID)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("its directory: %v", err)
				}
				if gone := slices.Contains(volumes.removed, "v"); gone != c.gone {
					t.Errorf("its volume is gone: %t, want %t", gone, c.gone)
				}
			}
			if err := s.Remove(t.Context(), "x", false, c.volumes); err != nil {
				t.Error(err)
			}
		})
	}
}
