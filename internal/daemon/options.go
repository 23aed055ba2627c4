package daemon

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"

	containers "github.com/gantry-run/gantry/internal/container"
	"github.com/gantry-run/gantry/internal/image"
	"github.com/gantry-run/gantry/internal/network"
	registryclient "github.com/gantry-run/gantry/internal/registry"
	"github.com/gantry-run/gantry/internal/version"
	"github.com/gantry-run/gantry/internal/volume"
)

// The translation of the daemon's configuration into each part's options.

func (d *Daemon) imageOptions() image.Options {
	c := d.cfg
	return image.Options{
		Root: filepath.Join(c.DataRoot, "image"), Driver: c.StorageDriver, StorageOpts: c.StorageOpts, Events: d.events, Log: d.log,
		InUse: func(id string) []image.User {
			var users []image.User
			if d.containers == nil {
				return nil // still starting: nothing is removed yet
			}
			for _, u := range d.containers.UsingImage(id) {
				users = append(users, image.User{ID: u.ID, Running: u.Running})
			}
			return users
		},
		Registry: registryclient.Options{
			Mirrors: c.RegistryMirrors, Insecure: c.InsecureRegistries, CertsDir: "/etc/docker/certs.d",
			MaxConcurrentDownloads: c.MaxConcurrentDownloads, MaxConcurrentUploads: c.MaxConcurrentUploads,
			MaxDownloadAttempts: c.MaxDownloadAttempts, UserAgent: "gantry/" + version.Version,
		},
	}
}

func (d *Daemon) networkOptions() network.Options {
	c := d.cfg
	o := network.Options{
		Root: filepath.Join(c.DataRoot, "network"), Bridge: c.Bridge, BIP: c.BIP, FixedCIDR: c.FixedCIDR, MTU: c.MTU,
		DefaultGateway: c.DefaultGateway, ICC: c.ICC, IPForward: c.IPForward, IPMasq: c.IPMasq, DNS: c.DNS,
		DefaultBindIP: c.DefaultBindIP, UserlandProxy: c.UserlandProxy, Log: d.log, Events: d.events,
	}
	if !d.remap.Empty() {
		o.NewMapped = func() (*os.File, error) { return containers.NewMappedNamespace(d.remap) }
	}
	return o
}

func (d *Daemon) volumeOptions() volume.Options {
	return volume.Options{
		Root: d.cfg.DataRoot, Events: d.events, Log: d.log,
		InUse: func(name string) []string {
			if d.containers == nil {
				return nil
			}
			return d.containers.UsingVolume(name)
		},
	}
}

func (d *Daemon) containerDefaults() containers.Defaults {
	c := d.cfg
	def := containers.Defaults{
		LogDriver: c.LogDriver, LogOpts: c.LogOpts, ShmSize: c.DefaultShmSize,
		Ulimits:        slices.Collect(maps.Values(c.DefaultUlimits)),
		SeccompProfile: c.SeccompProfile, NoNewPrivileges: c.NoNewPrivileges, SELinux: d.selinux, CgroupParent: c.CgroupParent, SystemdCgroup: c.SystemdCgroup(),
		CgroupnsMode: container.CgroupnsMode(c.CgroupnsMode), IpcMode: container.IpcMode(c.IpcMode), Init: c.Init,
		DNSOptions: c.DNSOptions, DNSSearch: c.DNSSearch, StopTimeout: c.DefaultStopTimeout, CDISpecDirs: d.cdiSpecDirs(),
	}
	for _, a := range c.DNS {
		def.DNS = append(def.DNS, a.String())
	}
	switch {
	case def.CgroupParent != "":
	case def.SystemdCgroup:
		def.CgroupParent = "system.slice"
	default:
		def.CgroupParent = "gantry"
	}
	if def.CgroupnsMode == "" { // Docker's defaults by hierarchy
		def.CgroupnsMode = container.CgroupnsModeHost
		if cgroupV2() {
			def.CgroupnsMode = container.CgroupnsModePrivate
		}
	}
	return def
}

// cdiSpecDirs are the directories that the CDI specification names, unless told
// otherwise.
func (d *Daemon) cdiSpecDirs() []string {
	if len(d.cfg.CDISpecDirs) > 0 {
		return d.cfg.CDISpecDirs
	}
	return []string{"/etc/cdi", "/var/run/cdi"}
}

// registryConfig is the registry part of info.
func (d *Daemon) registryConfig() *registry.ServiceConfig {
	mirrors := notNil(d.cfg.RegistryMirrors)
	cfg := &registry.ServiceConfig{
		Mirrors:      mirrors,
		IndexConfigs: map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true}},
	}
	for _, r := range d.cfg.InsecureRegistries {
		cfg.IndexConfigs[r] = &registry.IndexInfo{Name: r, Mirrors: []string{}}
	}
	return cfg
}
