package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/container"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
	"github.com/gantry-run/gantry/internal/linux/ns"
	"github.com/gantry-run/gantry/internal/linux/userns"
	"github.com/gantry-run/gantry/internal/subid"
)

// findRemap finds out which ids containers get, and that they can have them: a
// daemon that cannot keep this promise does not start.
func (d *Daemon) findRemap() error {
	if d.cfg.UsernsRemap == "" {
		return nil
	}
	ids, err := subid.Mapping(d.cfg.UsernsRemap, "/etc")
	if errors.Is(err, subid.ErrRoot) {
		d.log.Warn("User namespaces: root cannot be remapped with itself; user namespaces are OFF")
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.tryRemap(ids); err != nil {
		return errs.New(errs.KindOf(err), "userns-remap: %w", err)
	}
	uid, gid := ids.RootPair()
	d.log.Info("containers have user namespaces; their root has no rights here", "user", d.cfg.UsernsRemap, "uid", uid, "gid", gid)
	d.remap = ids
	return nil
}

// tryRemap makes what each container will need: the namespaces, and an overlay in
// the data root whose layers have mapped ids. Nothing of it stays.
func (d *Daemon) tryRemap(ids user.IdentityMapping) error {
	netns, err := container.NewMappedNamespace(ids)
	if err != nil {
		return err
	}
	defer netns.Close() //nolint:errcheck // only a handle
	users, err := userns.Owner(netns)
	if err != nil {
		return err
	}
	defer users.Close() //nolint:errcheck // only a handle
	dir := filepath.Join(d.cfg.DataRoot, ".userns-check")
	if err := os.RemoveAll(dir); err != nil { // of a daemon that was killed
		return fmt.Errorf("try overlay: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the next one tries again
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return fmt.Errorf("try overlay: %w", err)
		}
	}
	mapped := mount.IDs{Users: int(users.Fd())}
	mapped.UID, mapped.GID = ids.RootPair()
	if err := ns.OnThread(func() error { return tryOverlay(dir, mapped) }); err != nil {
		return fmt.Errorf("layers in %s with mapped ids, which needs Linux 5.19 and a filesystem such as ext4, xfs or btrfs: %w", d.cfg.DataRoot, err)
	}
	return nil
}

func tryOverlay(dir string, ids mount.IDs) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("create mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	place, err := unix.Open(filepath.Join(dir, "merged"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(place) //nolint:errcheck // only a handle
	o := mount.Options{Data: []string{
		"lowerdir=" + filepath.Join(dir, "lower"), "upperdir=" + filepath.Join(dir, "upper"), "workdir=" + filepath.Join(dir, "work"),
	}}
	overlay, err := mount.MappedOverlay(place, "overlay", o, ids)
	if err != nil {
		return err
	}
	defer overlay.Close()
	// An upper directory that it cannot use makes it read-only.
	if err := unix.Mkdirat(overlay.FD(), "try", 0o755); err != nil {
		return fmt.Errorf("write to overlay: %w", err)
	}
	return nil
}
