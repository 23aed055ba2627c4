package container

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/apparmor"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/seccompprofile"
)

// defaultCaps are Docker's (moby, daemon/pkg/oci/caps/defaults.go).
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// defaultMasked and defaultReadonly are Docker's (moby, daemon/pkg/oci/defaults.go).
var (
	defaultMasked = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
	defaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// capabilities gives the set of a container: privileged or ALL is all that the
// kernel and the daemon itself have.
func capabilities(h *container.HostConfig) ([]string, error) {
	known := map[string]bool{}
	for _, c := range capability.ListKnown() {
		known["CAP_"+strings.ToUpper(c.String())] = true
	}
	norm := func(field string, list []string) ([]string, error) {
		out := make([]string, 0, len(list))
		for _, c := range list {
			c = strings.ToUpper(c)
			if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
				c = "CAP_" + c
			}
			if c != "ALL" && !known[c] {
				return nil, errs.New(errs.InvalidArgument, "invalid %s: unknown capability: %q", field, c)
			}
			out = append(out, c)
		}
		return out, nil
	}
	add, err := norm("CapAdd", h.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, err := norm("CapDrop", h.CapDrop)
	if err != nil {
		return nil, err
	}
	base := defaultCaps
	if h.Privileged || slices.Contains(add, "ALL") {
		base = ownCaps()
	}
	if slices.Contains(drop, "ALL") && !h.Privileged {
		base = nil
		if slices.Contains(add, "ALL") {
			base = ownCaps()
		}
		drop = nil
	}
	set := slices.Clone(base)
	for _, c := range add {
		if c != "ALL" && !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	if !h.Privileged {
		set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(drop, c) })
	}
	return set, nil
}

// ownCaps lists the capabilities in the daemon's bounding set: nobody can give
// a container more.
func ownCaps() []string {
	c, err := capability.NewPid2(0)
	if err == nil {
		err = c.Load()
	}
	var out []string
	for _, k := range capability.ListKnown() {
		if err != nil || c.Get(capability.BOUNDING, k) {
			out = append(out, "CAP_"+strings.ToUpper(k.String()))
		}
	}
	return out
}

// security is the decoded --security-opt.
type security struct {
	seccomp         string // profile JSON, "unconfined" or "" for the default
	noNewPrivileges bool
	apparmor        string
	writableCgroups bool
	labels          []string // options of SELinux
}

// parseSecurity decodes --security-opt. Options of SELinux have no effect where
// it is not in use, as in Docker.
func parseSecurity(h *container.HostConfig) (sec security, err error) {
	for _, opt := range h.SecurityOpt {
		if opt == "no-new-privileges" || opt == "no-new-privileges:true" {
			sec.noNewPrivileges = true
			continue
		}
		if opt == "systempaths=unconfined" {
			continue
		}
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		if !ok {
			return sec, errs.New(errs.InvalidArgument, "invalid --security-opt 1: %q", opt)
		}
		switch key {
		case "seccomp":
			sec.seccomp = value
			if value == "builtin" {
				sec.seccomp = ""
			}
		case "apparmor":
			sec.apparmor = value
		case "label":
			sec.labels = append(sec.labels, value)
		case "writable-cgroups":
			if sec.writableCgroups, err = parseBool(value); err != nil {
				return sec, errs.New(errs.InvalidArgument, "invalid --security-opt 2: %q", opt)
			}
		case "no-new-privileges":
			if sec.noNewPrivileges, err = parseBool(value); err != nil {
				return sec, errs.New(errs.InvalidArgument, "invalid --security-opt 2: %q", opt)
			}
		default:
			return sec, errs.New(errs.InvalidArgument, "invalid --security-opt 2: %q", opt)
		}
	}
	return sec, nil
}

// appArmor gives the profile of a container, and sees to it that the kernel has the
// default one if it is that; "" is no profile. One that the user names is looked for
// by the kernel, when the process starts. Where there is no AppArmor, none has an
// effect, as in Docker.
func (s *Service) appArmor(ctx context.Context, named string, privileged bool) (string, error) {
	switch {
	case s.AppArmor == nil:
		return "", nil
	case named != "" && named != apparmor.Default:
		return named, nil
	case named == "" && privileged:
		return apparmor.Unconfined, nil
	case !s.AppArmor.HasDefault():
		return named, nil
	}
	return apparmor.Default, s.AppArmor.EnsureDefault(ctx)
}

// seccomp gives the filter for a spec whose capabilities are final: the default
// profile's rules depend on them. nil means unconfined.
func (s *Service) seccomp(profile string, privileged bool, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	if profile == "" {
		profile = s.Defaults.SeccompProfile
		if profile != "" && profile != "unconfined" && profile != "builtin" {
			data, err := os.ReadFile(profile)
			if err != nil {
				return nil, errs.New(errs.InvalidArgument, "opening seccomp profile (%s) failed: %w", profile, err)
			}
			profile = string(data)
		}
	}
	switch {
	case profile == "unconfined" || profile == "" && privileged:
		return nil, nil
	case profile == "" || profile == "builtin":
		return seccompprofile.Default(spec)
	}
	if !json.Valid([]byte(profile)) {
		return nil, errs.New(errs.InvalidArgument, "decoding seccomp profile failed: not valid JSON")
	}
	return seccompprofile.Load([]byte(profile), spec)
}
