package daemon

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	volumetypes "github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	containers "github.com/gantry-run/gantry/internal/container"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/version"
)

// systemService answers what belongs to no noun from the parts that know.
type systemService struct{ d *Daemon }

// Info describes the daemon and its host.
func (s systemService) Info(ctx context.Context) (system.Info, error) {
	d := s.d
	images, err := d.images.List(ctx, false, nil)
	if err != nil {
		return system.Info{}, err
	}
	running, paused, stopped := d.containers.Counts()
	hostname, err := os.Hostname()
	if err != nil {
		return system.Info{}, fmt.Errorf("read host name: %w", err)
	}
	v2, live := cgroupV2(), d.live.Load()
	info := system.Info{
		ID: d.id, Name: hostname, ServerVersion: version.Version,
		Containers: running + paused + stopped, ContainersRunning: running, ContainersPaused: paused, ContainersStopped: stopped,
		Images: len(images), Driver: "overlayfs",
		DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins: system.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: containers.LogDrivers(),
		},
		MemoryLimit: true, SwapLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		OomKillDisable: !v2, IPv4Forwarding: sysctlIs("/proc/sys/net/ipv4/ip_forward", "1"),
		Debug: live.Debug, NFd: countFDs(), NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano),
		LoggingDriver: orDefault(d.cfg.LogDriver, "json-file"), CgroupDriver: "cgroupfs", CgroupVersion: "1",
		KernelVersion: kernel(), OperatingSystem: osRelease("PRETTY_NAME"), OSVersion: osRelease("VERSION_ID"),
		OSType: "linux", Architecture: machine(), IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: d.registryConfig(),
		NCPU: runtime.NumCPU(), MemTotal: memTotal(), DockerRootDir: d.cfg.DataRoot, Labels: notNil(live.Labels), ExperimentalBuild: d.cfg.Experimental,
		HTTPProxy: os.Getenv("HTTP_PROXY"), HTTPSProxy: os.Getenv("HTTPS_PROXY"), NoProxy: os.Getenv("NO_PROXY"),
		Runtimes: map[string]system.RuntimeWithStatus{
			"gantry-runtime": {Runtime: system.Runtime{Path: d.runtimePath}},
			"runc":           {Runtime: system.Runtime{Path: d.runtimePath}},
			// The name that Docker and containerd have for it.
			"io.containerd.runc.v2": {Runtime: system.Runtime{Path: d.runtimePath}},
		},
		DefaultRuntime: "gantry-runtime", Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		LiveRestoreEnabled: true, InitBinary: "docker-init", SecurityOptions: d.securityOptions(),
		FirewallBackend: &system.FirewallInfo{Driver: "nftables"}, CDISpecDirs: d.cdiSpecDirs(),
		Warnings: d.warnings,
	}
	if v2 {
		info.CgroupVersion = "2"
	}
	if d.cfg.SystemdCgroup() {
		info.CgroupDriver = "systemd"
	}
	return info, nil
}

func (d *Daemon) securityOptions() []string {
	var opts []string
	if d.appArmor != nil {
		opts = append(opts, "name=apparmor")
	}
	seccomp := d.cfg.SeccompProfile
	if seccomp == "" {
		seccomp = "builtin"
	}
	opts = append(opts, "name=seccomp,profile="+seccomp)
	if d.selinux {
		opts = append(opts, "name=selinux")
	}
	if !d.remap.Empty() {
		opts = append(opts, "name=userns")
	}
	if cgroupV2() {
		opts = append(opts, "name=cgroupns")
	}
	if d.cfg.NoNewPrivileges {
		opts = append(opts, "name=no-new-privileges")
	}
	return opts
}

// Version describes the build.
func (s systemService) Version(context.Context) (system.VersionResponse, error) {
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Gantry Engine"}, Version: version.Version,
		APIVersion: version.API, MinAPIVersion: s.d.minAPI(), Os: runtime.GOOS, Arch: runtime.GOARCH,
		GitCommit: version.Commit, GoVersion: version.Go(), KernelVersion: kernel(), BuildTime: version.BuildTime, Experimental: s.d.cfg.Experimental,
		Components: []system.ComponentVersion{
			{Name: "Engine", Version: version.Version, Details: map[string]string{
				"ApiVersion": version.API, "MinAPIVersion": s.d.minAPI(), "Arch": runtime.GOARCH, "Os": runtime.GOOS,
				"BuildTime": version.BuildTime, "Experimental": strconv.FormatBool(s.d.cfg.Experimental),
				"GitCommit": version.Commit, "GoVersion": version.Go(), "KernelVersion": kernel(),
			}},
			{Name: "gantry-runtime", Version: version.Version, Details: map[string]string{"GitCommit": version.Commit}},
		},
	}, nil
}

// DiskUsage sums up what images, containers and volumes take.
func (s systemService) DiskUsage(ctx context.Context) (system.DiskUsage, error) {
	var du system.DiskUsage
	images, err := s.d.images.List(ctx, false, nil)
	if err != nil {
		return du, err
	}
	containers, err := s.d.containers.List(ctx, engine.ContainerList{All: true, Size: true})
	if err != nil {
		return du, err
	}
	volumes, err := s.d.volumes.Usage(ctx)
	if err != nil {
		return du, err
	}
	du.ImageUsage = imageUsage(images, containers)
	du.ContainerUsage = containerUsage(containers)
	du.VolumeUsage = volumeUsage(volumes)
	return du, nil
}

// volumeUsage sums up volumes; a size of -1 is not known.
func volumeUsage(volumes []volumetypes.Volume) *volumetypes.DiskUsage {
	u := &volumetypes.DiskUsage{TotalCount: int64(len(volumes)), Items: volumes}
	for _, v := range volumes {
		size := max(v.UsageData.Size, 0)
		u.TotalSize += size
		if v.UsageData.RefCount > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += size
		}
	}
	return u
}

func imageUsage(images []imagetypes.Summary, containers []container.Summary) *imagetypes.DiskUsage {
	used := map[string]int64{}
	for _, c := range containers {
		used[c.ImageID]++
	}
	u := &imagetypes.DiskUsage{TotalCount: int64(len(images))}
	for _, img := range images {
		img.Containers = used[img.ID]
		u.TotalSize += img.Size
		if img.Containers > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += img.Size
		}
		u.Items = append(u.Items, img)
	}
	return u
}

func containerUsage(containers []container.Summary) *container.DiskUsage {
	u := &container.DiskUsage{TotalCount: int64(len(containers)), Items: containers}
	for _, c := range containers {
		u.TotalSize += c.SizeRw
		if c.State == container.StateRunning || c.State == container.StatePaused {
			u.ActiveCount++
		} else {
			u.Reclaimable += c.SizeRw
		}
	}
	return u
}

// Auth checks credentials against a registry.
func (s systemService) Auth(ctx context.Context, cfg registry.AuthConfig) (registry.AuthResponse, error) {
	status, token, err := s.d.images.Login(ctx, cfg)
	return registry.AuthResponse{Status: status, IdentityToken: token}, err
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// cgroup2Magic is CGROUP2_SUPER_MAGIC of linux/magic.h.
const cgroup2Magic = 0x63677270

// cgroupV2 tells whether the host has the unified hierarchy only.
func cgroupV2() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == cgroup2Magic
}

func uname() unix.Utsname {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad pointer only
	return u
}

func kernel() string  { u := uname(); return unix.ByteSliceToString(u.Release[:]) }
func machine() string { u := uname(); return unix.ByteSliceToString(u.Machine[:]) }

func memTotal() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(si.Totalram) * int64(si.Unit)
}

func sysctlIs(path, want string) bool {
	data, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(data)) == want
}

func countFDs() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// osRelease reads one key of os-release(5).
func osRelease(key string) string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	defer f.Close() //nolint:errcheck // read only
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), key+"="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return "Linux"
}
