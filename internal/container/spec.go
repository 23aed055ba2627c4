package container

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
)

// DefaultPath is the PATH of a container whose image sets none.
const DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// plan is everything that a spec is made of. It is a plain value: the same plan
// gives the same spec, without a look at the machine.
type plan struct {
	rec        *record
	bundle     string // the container's directory
	initBinary string
	cgroup     string            // cgroup path
	joined     map[string]string // namespace kind → path of the namespace to join
	hostname   string
	ulimits    []specs.POSIXRlimit
	noNewPriv  bool
	cgroupsRW  bool
	appArmor   string // profile
	labels     labels
	linkEnv    []string // variables of linked containers
	caps       []string
	devices    []device
	deviceList []specs.LinuxDeviceCgroup
	netFiles   bool // resolv.conf, hostname and hosts are bound from the bundle
	defInit    bool
	hostQueues bool                  // the machine has a /dev/mqueue
	ids        *user.IdentityMapping // of its user namespace; nil: it is in the machine's
}

// spec makes the runtime spec. Seccomp is added by the caller: its profile
// depends on the finished spec.
func (p *plan) spec() (*specs.Spec, error) {
	h := p.rec.Host
	sp := &specs.Spec{
		Version:     "1.3.0",
		Root:        &specs.Root{Path: path.Join(p.bundle, "rootfs"), Readonly: h.ReadonlyRootfs},
		Hostname:    p.hostname,
		Domainname:  p.rec.Config.Domainname,
		Process:     p.process(),
		Annotations: h.Annotations,
		Linux: &specs.Linux{
			CgroupsPath:   p.cgroup,
			Namespaces:    p.namespaces(),
			MaskedPaths:   h.MaskedPaths,
			ReadonlyPaths: h.ReadonlyPaths,
			Sysctl:        p.sysctls(),
			Devices:       nodes(p.devices),
			MountLabel:    p.labels.Mount,
		},
	}
	var err error
	if sp.Linux.Resources, err = resources(h); err != nil {
		return nil, err
	}
	sp.Linux.Resources.Devices = p.deviceRules()
	if sp.Mounts, err = p.mounts(); err != nil {
		return nil, err
	}
	if rootfsPropagation(p.rec.Mounts) != "" {
		sp.Linux.RootfsPropagation = rootfsPropagation(p.rec.Mounts)
	}
	if p.rec.Host.UTSMode.IsHost() || p.joined["uts"] != "" {
		sp.Hostname, sp.Domainname = "", ""
	}
	p.remap(sp)
	return sp, nil
}

func (p *plan) process() *specs.Process {
	cfg, h := p.rec.Config, p.rec.Host
	args := append([]string{p.rec.Path}, p.rec.Args...)
	if p.useInit() {
		args = append([]string{InitPath, "--"}, args...)
	}
	proc := &specs.Process{
		Terminal:        cfg.Tty,
		Args:            args,
		Env:             processEnv(cfg, p.hostname, p.linkEnv),
		Cwd:             cfg.WorkingDir,
		Rlimits:         p.ulimits,
		NoNewPrivileges: p.noNewPriv,
		ApparmorProfile: p.appArmor,
		SelinuxLabel:    p.labels.Process,
		Capabilities:    capabilitySets(p.caps, cfg.User),
	}
	if proc.Cwd == "" {
		proc.Cwd = "/"
	}
	if cfg.Tty && h.ConsoleSize[0] > 0 {
		proc.ConsoleSize = &specs.Box{Height: h.ConsoleSize[0], Width: h.ConsoleSize[1]}
	}
	if h.OomScoreAdj != 0 {
		proc.OOMScoreAdj = &h.OomScoreAdj
	}
	return proc
}

// InitPath is where --init finds its program, as in Docker.
const InitPath = "/sbin/docker-init"

func (p *plan) useInit() bool {
	if p.rec.Host.PidMode.IsHost() || p.rec.Host.PidMode.IsContainer() {
		return false
	}
	if p.rec.Host.Init != nil {
		return *p.rec.Host.Init
	}
	return p.defInit
}

// capabilitySets: a process that is not root starts without effective
// capabilities, which the kernel's execve rules would take anyway; nothing is
// ever inheritable or ambient (CVE-2022-24769).
func capabilitySets(caps []string, _ string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

func processEnv(cfg *container.Config, hostname string, links []string) []string {
	env := []string{DefaultPath}
	if hostname != "" {
		env = append(env, "HOSTNAME="+hostname)
	}
	if cfg.Tty {
		env = append(env, "TERM=xterm")
	}
	env = append(env, links...)
	for _, e := range cfg.Env {
		env = setEnv(env, e)
	}
	return env
}

// setEnv sets a variable in place, so that the order stays Docker's; a bare
// name unsets.
func setEnv(env []string, e string) []string {
	key, _, valued := strings.Cut(e, "=")
	i := slices.IndexFunc(env, func(o string) bool { return strings.HasPrefix(o, key+"=") })
	switch {
	case !valued && i >= 0:
		return slices.Delete(env, i, i+1)
	case !valued:
		return env
	case i >= 0:
		env[i] = e
		return env
	}
	return append(env, e)
}

func (p *plan) namespaces() []specs.LinuxNamespace {
	h := p.rec.Host
	var ns []specs.LinuxNamespace
	add := func(t specs.LinuxNamespaceType, host bool) {
		if !host || p.joined[string(t)] != "" {
			ns = append(ns, specs.LinuxNamespace{Type: t, Path: p.joined[string(t)]})
		}
	}
	add(specs.MountNamespace, false)
	add(specs.NetworkNamespace, h.NetworkMode.IsHost())
	add(specs.UTSNamespace, h.UTSMode.IsHost())
	add(specs.PIDNamespace, h.PidMode.IsHost())
	add(specs.IPCNamespace, h.IpcMode.IsHost())
	add(specs.CgroupNamespace, !h.CgroupnsMode.IsPrivate())
	return ns
}

func (p *plan) sysctls() map[string]string {
	h := p.rec.Host
	out := map[string]string{}
	for k, v := range h.Sysctls {
		out[k] = v
	}
	// Docker's: unprivileged ports and pings, where the container owns its network.
	if !h.NetworkMode.IsHost() && !h.NetworkMode.IsContainer() && !h.Privileged {
		setDefault(out, "net.ipv4.ip_unprivileged_port_start", "0")
		setDefault(out, "net.ipv4.ping_group_range", p.pingGroups())
	}
	return out
}

func setDefault(m map[string]string, k, v string) {
	if _, ok := m[k]; !ok {
		m[k] = v
	}
}

// resources turns limits into the runtime's form; devices are added elsewhere.
func resources(h *container.HostConfig) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{Memory: memory(h), CPU: cpu(h)}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		r.Pids = &specs.LinuxPids{Limit: h.PidsLimit}
	}
	block, err := blockIO(h)
	if err != nil {
		return nil, err
	}
	r.BlockIO = block
	return r, nil
}

func memory(h *container.HostConfig) *specs.LinuxMemory {
	m := &specs.LinuxMemory{}
	set := false
	if h.Memory > 0 {
		m.Limit, set = &h.Memory, true
		if h.MemorySwap == 0 { // Docker: as much swap as memory
			swap := h.Memory * 2
			m.Swap = &swap
		}
	}
	if h.MemorySwap != 0 {
		m.Swap, set = &h.MemorySwap, true
	}
	if h.MemoryReservation > 0 {
		m.Reservation, set = &h.MemoryReservation, true
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness >= 0 {
		v := uint64(*h.MemorySwappiness)
		m.Swappiness, set = &v, true
	}
	if h.OomKillDisable != nil && *h.OomKillDisable {
		m.DisableOOMKiller, set = h.OomKillDisable, true
	}
	if !set {
		return nil
	}
	return m
}

func cpu(h *container.HostConfig) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: h.CpusetCpus, Mems: h.CpusetMems}
	set := c.Cpus != "" || c.Mems != ""
	if h.CPUShares > 0 {
		v := uint64(h.CPUShares)
		c.Shares, set = &v, true
	}
	if h.NanoCPUs > 0 {
		period := uint64(100000)
		quota := h.NanoCPUs * int64(period) / 1e9
		c.Period, c.Quota, set = &period, &quota, true
	}
	if h.CPUPeriod > 0 {
		v := uint64(h.CPUPeriod)
		c.Period, set = &v, true
	}
	if h.CPUQuota != 0 {
		c.Quota, set = &h.CPUQuota, true
	}
	if h.CPURealtimePeriod > 0 {
		v := uint64(h.CPURealtimePeriod)
		c.RealtimePeriod, set = &v, true
	}
	if h.CPURealtimeRuntime > 0 {
		c.RealtimeRuntime, set = &h.CPURealtimeRuntime, true
	}
	if !set {
		return nil
	}
	return c
}

func parseUlimits(own, def []*container.Ulimit) ([]specs.POSIXRlimit, error) {
	var out []specs.POSIXRlimit
	seen := map[string]bool{}
	for _, u := range slices.Concat(own, def) {
		if seen[u.Name] {
			continue
		}
		seen[u.Name] = true
		if u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
			return nil, errs.New(errs.InvalidArgument, "ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return out, nil
}

func shmSize(h *container.HostConfig) string {
	size := h.ShmSize
	if size == 0 {
		size = 64 << 20
	}
	return "size=" + strconv.FormatInt(size, 10)
}
