package container

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	linuxmount "github.com/gantry-run/gantry/internal/linux/mount"
)

// standardMounts are Docker's for every container, in the order of mounting.
func (p *plan) standardMounts() []specs.Mount {
	h := p.rec.Host
	sys := []string{"nosuid", "noexec", "nodev", "ro"}
	cg := []string{"ro", "nosuid", "noexec", "nodev"}
	if h.Privileged {
		sys, cg = sys[:3], cg[1:]
	} else if p.cgroupsRW {
		cg = cg[1:]
	}
	ms := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cg},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	switch {
	case h.IpcMode.IsNone():
	case h.IpcMode.IsHost():
		if p.ids != nil { // who does not own the IPC namespace cannot mount it
			ms = ms[:len(ms)-1]
		}
		if p.ids != nil && p.hostQueues {
			ms = append(ms, specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev"}})
		}
		ms = append(ms, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "nosuid", "noexec", "nodev"}})
	case h.IpcMode.IsContainer():
		ms = append(ms, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "nosuid", "noexec", "nodev", linuxmount.NamespaceOption + p.joined["shm"]}})
	default:
		ms = append(ms, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", shmSize(h)}})
	}
	if h.PidMode.IsHost() {
		// A process of the host's pid namespace sees the host's /proc.
		ms[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
	}
	return ms
}

// netFileMounts are the files of the network, bound from the bundle.
func (p *plan) netFileMounts() []specs.Mount {
	if !p.netFiles {
		return nil
	}
	var ms []specs.Mount
	for _, f := range []string{"resolv.conf", "hostname", "hosts"} {
		opts := []string{"rbind", "rprivate"}
		if p.rec.Host.ReadonlyRootfs {
			opts = append(opts, "ro")
		}
		if p.ids != nil {
			opts = append(opts, idmap)
		}
		ms = append(ms, specs.Mount{Destination: "/etc/" + f, Type: "bind", Source: path.Join(p.bundle, f), Options: opts})
	}
	return ms
}

// mounts gives all mounts. The user's come after the standard ones and replace
// those that they cover, but for the files of the network: they appear inside of
// what the user mounts on /etc, or the container could resolve no names.
func (p *plan) mounts() ([]specs.Mount, error) {
	std, inner := p.standardMounts(), p.netFileMounts()
	if p.useInit() {
		std = append(std, specs.Mount{Destination: InitPath, Type: "bind", Source: p.initBinary, Options: []string{"bind", "ro"}})
	}
	own := make([]specs.Mount, 0, len(p.rec.Mounts))
	for _, m := range p.rec.Mounts {
		sm, err := specMount(m)
		if err != nil {
			return nil, err
		}
		own = append(own, sm)
		same := func(s specs.Mount) bool { return s.Destination == m.Destination }
		std = slices.DeleteFunc(std, func(s specs.Mount) bool {
			return same(s) || s.Destination != "/proc" && strings.HasPrefix(s.Destination, m.Destination+"/")
		})
		inner = slices.DeleteFunc(inner, same)
	}
	return slices.Concat(std, onTop(own, inner)), nil
}

// onTop puts each of inner behind the last mount that it lies in.
func onTop(own, inner []specs.Mount) []specs.Mount {
	for _, m := range slices.Backward(inner) {
		at := 0
		for i, o := range own {
			if strings.HasPrefix(m.Destination, o.Destination+"/") {
				at = i + 1
			}
		}
		own = slices.Insert(own, at, m)
	}
	return own
}

func specMount(m mountPoint) (specs.Mount, error) {
	switch m.Type {
	case mount.TypeTmpfs:
		return tmpfsMount(m), nil
	case mount.TypeBind, mount.TypeVolume:
		opts := append(m.ids(), "rbind")
		if m.NonRecursive {
			opts[len(opts)-1] = "bind"
		}
		if !m.RW {
			opts = append(opts, "ro")
			if !m.ReadOnlyFlat && !m.NonRecursive {
				opts = append(opts, "rro")
			}
		}
		prop := string(m.Propagation)
		if prop == "" {
			prop = string(mount.PropagationRPrivate)
		}
		return specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: append(append(opts, prop), m.part()...)}, nil
	case mount.TypeImage:
		return specs.Mount{Destination: m.Destination, Type: "overlay", Source: "overlay", Options: slices.Concat(m.overlay, []string{"ro"}, m.part(), m.ids())}, nil
	}
	return specs.Mount{}, fmt.Errorf("mount %s: unknown type %q", m.Destination, m.Type)
}

// ids is the option for mapped ids, if the mount is to have them.
func (m *mountPoint) ids() []string {
	if !m.mapped {
		return nil
	}
	return []string{idmap}
}

// part is the option for the part that is mounted of a volume or an image.
func (m *mountPoint) part() []string {
	if m.Subpath == "" {
		return nil
	}
	return []string{linuxmount.SubpathOption + m.Subpath}
}

func tmpfsMount(m mountPoint) specs.Mount {
	opts := []string{"nosuid", "nodev", "noexec"}
	if m.TmpfsOpts != "" {
		for o := range strings.SplitSeq(m.TmpfsOpts, ",") {
			if plain, ok := map[string]string{"exec": "noexec", "suid": "nosuid", "dev": "nodev"}[o]; ok {
				opts = slices.DeleteFunc(opts, func(x string) bool { return x == plain })
				continue
			}
			opts = append(opts, o)
		}
	}
	if m.Tmpfs != nil {
		if m.Tmpfs.SizeBytes > 0 {
			opts = append(opts, fmt.Sprintf("size=%d", m.Tmpfs.SizeBytes))
		}
		if m.Tmpfs.Mode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", m.Tmpfs.Mode))
		}
		for _, o := range m.Tmpfs.Options {
			opts = append(opts, strings.Join(o, "="))
		}
	}
	if !m.RW {
		opts = append(opts, "ro")
	}
	return specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: opts}
}

// rootfsPropagation is what shared and slave mounts need of the root.
func rootfsPropagation(ms []mountPoint) string {
	prop := ""
	for _, m := range ms {
		switch m.Propagation {
		case mount.PropagationShared, mount.PropagationRShared:
			return string(mount.PropagationRShared)
		case mount.PropagationSlave, mount.PropagationRSlave:
			prop = string(mount.PropagationRSlave)
		}
	}
	return prop
}
