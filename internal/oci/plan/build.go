package plan

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/capability"
	"github.com/gantry-run/gantry/internal/linux/mount"
)

// Namespaces says what becomes of the namespaces at the container's birth.
type Namespaces struct {
	Clone  uintptr           // CLONE_NEW* for the child to be born with
	Cgroup bool              // a new cgroup namespace, made by init once it is in its group
	Time   bool              // a new time namespace, entered at execve
	Join   map[string]string // kind (runtime-spec's name) → path
}

// Build makes the plan for a container's init. rootPath is the absolute path of
// the root filesystem. The caller fills in what it alone knows: Root.Mounts,
// Root.NoPivot, Root.Cgroup*, Keyring, Hooks.State, FDs, Wait.
func Build(id string, spec *specs.Spec, rootPath string) (*Init, Namespaces, error) {
	if err := validate(spec); err != nil {
		return nil, Namespaces{}, err
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	namespaces, err := buildNamespaces(linux.Namespaces)
	if err != nil {
		return nil, Namespaces{}, err
	}
	p := &Init{
		ID: id, Hostname: spec.Hostname, Domainname: spec.Domainname, Sysctl: maps.Clone(linux.Sysctl),
		LoopbackUp:  namespaces.Clone&unix.CLONE_NEWNET != 0,
		NewCgroupNS: namespaces.Cgroup, NewTimeNS: namespaces.Time,
		UserNS: namespaces.Clone&unix.CLONE_NEWUSER != 0 || namespaces.Join["user"] != "",
	}
	if err := checkIsolation(spec, linux, namespaces); err != nil {
		return nil, Namespaces{}, err
	}
	if p.Root, err = buildRoot(spec, linux, rootPath, p.UserNS); err != nil {
		return nil, Namespaces{}, err
	}
	p.Root.Shared = namespaces.Clone&unix.CLONE_NEWNS == 0
	if spec.Process != nil {
		if p.Process, err = BuildProcess(spec.Process, spec.Annotations); err != nil {
			return nil, Namespaces{}, err
		}
	}
	if p.Process.Caps == nil {
		p.Process.Caps = &capability.Sets{} // nothing is granted that was not asked for
	}
	p.Process.CreateCwd = true
	p.Process.Seccomp = linux.Seccomp != nil
	p.Hooks = buildHooks(spec.Hooks)
	if p.Personality, err = personality(linux.Personality); err != nil {
		return nil, Namespaces{}, err
	}
	if p.MemoryPolicy, err = BuildMemoryPolicy(linux.MemoryPolicy); err != nil {
		return nil, Namespaces{}, err
	}
	for _, clock := range slices.Sorted(maps.Keys(linux.TimeOffsets)) {
		o := linux.TimeOffsets[clock]
		p.TimeOffsets = append(p.TimeOffsets, TimeOffset{clock, o.Secs, o.Nanosecs})
	}
	return p, namespaces, nil
}

func validate(spec *specs.Spec) error {
	switch {
	case spec.Root == nil:
		return errs.New(errs.InvalidArgument, "root must be specified")
	}
	if spec.Linux != nil {
		if _, err := NetDevices(spec.Linux.NetDevices); err != nil {
			return err
		}
	}
	for _, m := range spec.Mounts {
		if m.Destination == "" || strings.IndexByte(m.Destination, 0) >= 0 {
			return errs.New(errs.InvalidArgument, "mount destination %q is not valid", m.Destination)
		}
	}
	return nil
}

func buildNamespaces(list []specs.LinuxNamespace) (Namespaces, error) {
	clone := map[specs.LinuxNamespaceType]uintptr{
		specs.PIDNamespace: unix.CLONE_NEWPID, specs.NetworkNamespace: unix.CLONE_NEWNET,
		specs.MountNamespace: unix.CLONE_NEWNS, specs.IPCNamespace: unix.CLONE_NEWIPC,
		specs.UTSNamespace: unix.CLONE_NEWUTS, specs.UserNamespace: unix.CLONE_NEWUSER,
		specs.CgroupNamespace: 0, specs.TimeNamespace: 0,
	}
	n := Namespaces{Join: map[string]string{}}
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, ns := range list {
		flag, known := clone[ns.Type]
		if !known {
			return n, errs.New(errs.InvalidArgument, "namespace %q does not exist", ns.Type)
		}
		if seen[ns.Type] {
			return n, errs.New(errs.InvalidArgument, "malformed spec file: duplicated ns %q", ns.Type)
		}
		seen[ns.Type] = true
		switch {
		case ns.Path != "":
			if !filepath.IsAbs(ns.Path) {
				return n, errs.New(errs.InvalidArgument, "namespace path %q is not absolute", ns.Path)
			}
			n.Join[string(ns.Type)] = ns.Path
		case ns.Type == specs.CgroupNamespace:
			n.Cgroup = true
		case ns.Type == specs.TimeNamespace:
			n.Time = true
		default:
			n.Clone |= flag
		}
	}
	return n, nil
}

// checkIsolation refuses what would change the host instead of the container.
func checkIsolation(spec *specs.Spec, linux *specs.Linux, n Namespaces) error {
	private := func(flag uintptr, kind string) bool { return n.Clone&flag != 0 || n.Join[kind] != "" }
	if spec.Hostname != "" && !private(unix.CLONE_NEWUTS, "uts") {
		return errs.New(errs.InvalidArgument, "unable to set hostname without a private UTS namespace")
	}
	if spec.Domainname != "" && !private(unix.CLONE_NEWUTS, "uts") {
		return errs.New(errs.InvalidArgument, "unable to set domainname without a private UTS namespace")
	}
	if len(linux.UIDMappings)+len(linux.GIDMappings) > 0 && !private(unix.CLONE_NEWUSER, "user") {
		return errs.New(errs.InvalidArgument, "user namespace mappings specified, but user namespace isn't enabled in the config")
	}
	if n.Clone&unix.CLONE_NEWUSER != 0 && (len(linux.UIDMappings) == 0 || len(linux.GIDMappings) == 0) {
		return errs.New(errs.InvalidArgument, "user namespaces enabled, but no uid or gid mappings are specified")
	}
	switch users := n.Clone&unix.CLONE_NEWUSER != 0; {
	case private(unix.CLONE_NEWUSER, "user") && !private(unix.CLONE_NEWNS, "mount"):
		return errs.New(errs.InvalidArgument, "a user namespace without a mount namespace: it has no right to mount in the runtime's")
	case users && n.Join["mount"] != "":
		return errs.New(errs.InvalidArgument, "a new user namespace in the mount namespace of others: it has no right to mount there")
	}
	if len(linux.TimeOffsets) > 0 && n.Join["time"] != "" {
		return errs.New(errs.InvalidArgument, "time namespace offsets specified, but the time namespace is another's")
	}
	if len(linux.TimeOffsets) > 0 && !n.Time {
		return errs.New(errs.InvalidArgument, "time namespace offsets specified, but time namespace isn't enabled in the config")
	}
	if len(linux.NetDevices) > 0 && !private(unix.CLONE_NEWNET, "network") {
		return errs.New(errs.InvalidArgument, "unable to move network devices without a private network namespace")
	}
	for key := range linux.Sysctl {
		if err := checkSysctl(key, private); err != nil {
			return err
		}
	}
	return nil
}

// ipcSysctls belong to the IPC namespace; see ipc_namespaces(7) and sysctl(5).
var ipcSysctls = map[string]bool{
	"kernel.msgmax": true, "kernel.msgmnb": true, "kernel.msgmni": true, "kernel.sem": true, "kernel.shmall": true,
	"kernel.shmmax": true, "kernel.shmmni": true, "kernel.shm_rmid_forced": true,
}

func checkSysctl(key string, private func(uintptr, string) bool) error {
	name := SysctlName(key)
	for _, part := range strings.Split(SysctlPath(key), "/") {
		if part == "" || part == "." || part == ".." { // it would lead elsewhere than its name says
			return errs.New(errs.InvalidArgument, "sysctl %q is not a valid name", key)
		}
	}
	switch kind := sysctlNamespace(name); {
	case name == "kernel.hostname":
		return errs.New(errs.InvalidArgument, "sysctl %q is not allowed as it conflicts with the OCI %q field", key, "hostname")
	case kind == "ipc" && !private(unix.CLONE_NEWIPC, kind):
		return errs.New(errs.InvalidArgument, "sysctl %q is not allowed in the hosts ipc namespace", key)
	case kind == "network" && !private(unix.CLONE_NEWNET, kind):
		return errs.New(errs.InvalidArgument, "sysctl %q not allowed in host network namespace", key)
	case kind == "", kind == "uts" && !private(unix.CLONE_NEWUTS, kind), kind == "user" && !private(unix.CLONE_NEWUSER, kind):
		return errs.New(errs.InvalidArgument, "sysctl %q is not in a separate kernel namespace", key)
	}
	return nil
}

// sysctlNamespace is the kind of namespace that a sysctl belongs to, "" for the machine.
func sysctlNamespace(name string) string {
	switch {
	case ipcSysctls[name], strings.HasPrefix(name, "fs.mqueue."):
		return "ipc"
	case strings.HasPrefix(name, "net."):
		return "network"
	case name == "kernel.domainname":
		return "uts"
	case strings.HasPrefix(name, "user."):
		return "user"
	}
	return ""
}

// Changes lists what the specification changes in namespaces, by their kind. A
// namespace that is joined must not be the machine's then.
func Changes(spec *specs.Spec) map[string]string {
	out := map[string]string{}
	if spec.Hostname != "" {
		out["uts"] = "hostname"
	}
	if spec.Domainname != "" {
		out["uts"] = "domainname"
	}
	if spec.Linux == nil {
		return out
	}
	for key := range spec.Linux.Sysctl {
		if kind := sysctlNamespace(SysctlName(key)); kind != "" {
			out[kind] = "sysctl " + key
		}
	}
	for name := range spec.Linux.NetDevices {
		out["network"] = "network device " + name
	}
	return out
}

// SysctlName is the dotted form of a key: a key whose first separator is a
// slash has slashes between its parts and dots inside them, as for VLAN names.
func SysctlName(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return strings.ReplaceAll(strings.ReplaceAll(key, ".", "\x00"), "/", ".")
	}
	return key
}

// SysctlPath is the file of a key below /proc/sys. Build has checked that it
// leads nowhere else.
func SysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

func personality(p *specs.LinuxPersonality) (*uint, error) {
	if p == nil {
		return nil, nil
	}
	if len(p.Flags) > 0 {
		return nil, errs.New(errs.Unsupported, "personality flags are not supported by the specification yet")
	}
	domains := map[specs.LinuxPersonalityDomain]uint{specs.PerLinux: 0, specs.PerLinux32: 0x0008} // sys/personality.h
	domain, ok := domains[p.Domain]
	if !ok {
		return nil, errs.New(errs.InvalidArgument, "invalid personality domain %q", p.Domain)
	}
	return &domain, nil
}

func buildHooks(h *specs.Hooks) HookPoints {
	if h == nil {
		return HookPoints{}
	}
	return HookPoints{
		//lint:ignore SA1019 bundles in the field still use prestart
		Runtime:        len(h.Prestart)+len(h.CreateRuntime) > 0,
		Create:         Hooks(h.CreateContainer),
		StartContainer: Hooks(h.StartContainer),
	}
}

// Hooks converts a list of hooks.
func Hooks(list []specs.Hook) []Hook {
	var out []Hook
	for _, h := range list {
		hook := Hook{Path: h.Path, Args: h.Args, Env: h.Env}
		if h.Timeout != nil {
			hook.Timeout = *h.Timeout
		}
		out = append(out, hook)
	}
	return out
}

// rootMountOptions is ParseOptions for a mount on the root's path.
func rootMountOptions(options []string) mount.Options { return mount.ParseOptions(options) }

// AddRootMount appends a mount on the root's path.
func (r *Root) AddRootMount(kind, source string, options []string) {
	r.Mounts = append(r.Mounts, RootMount{Type: kind, Source: source, Options: rootMountOptions(options)})
}

// MapsIDs tells whether anything that the root filesystem is made of has mapped ids.
func (r *Root) MapsIDs() bool {
	return slices.ContainsFunc(r.Mounts, func(m RootMount) bool { return m.Options.IDMap })
}

func sortedKeys[K ~string, V any](m map[K]V) []string {
	var all []string
	for key := range m {
		all = append(all, string(key))
	}
	slices.Sort(all)
	return all
}
