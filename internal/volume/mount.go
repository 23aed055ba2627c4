package volume

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Mount implements engine.VolumeUse.
func (s *Service) Mount(ctx context.Context, name, holder string) (string, error) {
	v, err := s.lock(name)
	if err != nil {
		return "", err
	}
	defer v.mu.Unlock()
	if err := v.mount(ctx); err != nil {
		return "", errs.New(errs.Internal, "error while mounting volume '%s': failed to mount local volume: %w", v.data(), err)
	}
	v.holders[holder] = struct{}{}
	return v.data(), nil
}

// Unmount implements engine.VolumeUse.
func (s *Service) Unmount(_ context.Context, name, holder string) error {
	v, err := s.lock(name)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	delete(v.holders, holder)
	if len(v.holders) > 0 {
		return nil
	}
	return v.unmount()
}

// Restore implements engine.VolumeUse.
func (s *Service) Restore(ctx context.Context, live map[string][]string) error {
	for _, v := range s.all() {
		v.mu.Lock()
		for _, holder := range live[v.Name] {
			v.holders[holder] = struct{}{}
		}
		var err error
		if len(v.holders) == 0 {
			err = v.unmount()
		}
		v.mu.Unlock()
		if err != nil {
			s.log.WarnContext(ctx, "unmount volume that nobody uses", "volume", v.Name, "err", err)
		}
	}
	return nil
}

// mount mounts what the options say on the data directory. The lock is held.
func (v *vol) mount(ctx context.Context) error {
	if !v.needsMount() || v.mounted {
		return nil
	}
	device, options, err := v.resolve(ctx, net.DefaultResolver.LookupNetIP)
	if err != nil {
		return err
	}
	if err := mountOn(v.data(), v.Options[optType], device, options); err != nil {
		return maskError(fmt.Errorf("mount %s:%s, data: %s: %w", device, v.data(), options, err), options)
	}
	v.mounted = true
	return nil
}

func mountOn(target, fsType, device, options string) error {
	at, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer at.Close() // only a handle
	var list []string
	if options != "" {
		list = strings.Split(options, ",")
	}
	o := mount.ParseOptions(list)
	var d *mount.Detached
	if o.Bind {
		d, err = mount.Clone(unix.AT_FDCWD, device, o.Recursive)
	} else {
		d, err = mount.NewDetached(fsType, device, o, int(o.Set))
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.SetAttr(mount.Attr{Set: o.Set, Clear: o.Clear, Propagation: o.Propagation}, false); err != nil {
		return err
	}
	return d.Attach(int(at.Fd()))
}

// unmount undoes mount. The lock is held. Lazily, as a file may still be open.
func (v *vol) unmount() error {
	if !v.mounted {
		return nil
	}
	if err := unix.Unmount(v.data(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL {
		return fmt.Errorf("unmount volume %q: %w", v.Name, err)
	}
	v.mounted = false // EINVAL: someone else has unmounted it
	return nil
}

// resolve gives device and options with addresses for the host names of network
// file systems, whose kernel clients know no DNS.
func (v *vol) resolve(ctx context.Context, lookup lookupFunc) (device, options string, err error) {
	device, options = v.Options[optDevice], v.Options[optO]
	fsType := v.Options[optType]
	if fsType != "nfs" && fsType != "cifs" {
		return device, options, nil
	}
	if host, ok := optionValue(options, "addr"); ok && host != "" {
		if net.ParseIP(host) != nil {
			return device, options, nil
		}
		addr, err := lookupOne(ctx, lookup, host)
		if err != nil {
			return "", "", err
		}
		return device, strings.Replace(options, "addr="+host, "addr="+addr, 1), nil
	}
	if fsType != "cifs" {
		return device, options, nil
	}
	u, err := url.Parse(device)
	if err != nil {
		return "", "", fmt.Errorf("error parsing mount device url: %w", err)
	}
	if u.Host == "" || net.ParseIP(u.Host) != nil {
		return device, options, nil
	}
	if u.Host, err = lookupOne(ctx, lookup, u.Host); err != nil {
		return "", "", err
	}
	if device, err = url.QueryUnescape(u.String()); err != nil {
		return "", "", fmt.Errorf("failed to unescape device URL: %q", u)
	}
	return device, options, nil
}
