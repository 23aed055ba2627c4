package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
)

// checkLabel refuses labels without "=" and those in Docker's own name spaces.
func checkLabel(s string) (string, error) {
	if !strings.Contains(s, "=") {
		return s, fmt.Errorf("bad attribute format: %s", s)
	}
	lower := strings.ToLower(s)
	for _, reserved := range []string{"com.docker.", "io.docker.", "org.dockerproject."} {
		if strings.HasPrefix(lower, reserved) {
			return s, fmt.Errorf("label %s is not allowed: the namespaces com.docker.*, io.docker.*, and org.dockerproject.* are reserved for internal use", s)
		}
	}
	return s, nil
}

// uniqueLabels refuses two values for one key and drops repetitions.
func uniqueLabels(labels []string) ([]string, error) {
	values := map[string]string{}
	var unique []string
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		if other, has := values[key]; has && other != value {
			return nil, fmt.Errorf("conflict labels for %s=%s and %s=%s", key, value, key, other)
		} else if !has {
			values[key] = value
			unique = append(unique, label)
		}
	}
	return unique, nil
}

// domain is a DNS name with at least one letter, with or without a final dot.
var domain = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*)\.?$`)

// checkDomain checks a search domain; "." stands for none at all.
func checkDomain(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "." {
		return s, nil
	}
	parts := domain.FindStringSubmatch(s)
	if parts == nil || len(parts[1]) > 254 || !strings.ContainsFunc(s, isLetter) {
		return s, fmt.Errorf("%s is not a valid domain", s)
	}
	return parts[1], nil
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// checkDir makes the name of a directory absolute, however it came.
func checkDir(s string) (string, error) {
	if s == "" {
		return s, errors.New("directory name cannot be empty")
	}
	return filepath.Abs(s)
}

// checkMirror checks a mirror's URL and gives it with a slash at the end.
func checkMirror(s string) (string, error) {
	if scheme, _, ok := strings.Cut(s, "://"); !ok || scheme == "" {
		return s, fmt.Errorf("invalid mirror: no scheme specified for %q: must use either 'https://' or 'http://'", s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return s, fmt.Errorf("invalid mirror: %q is not a valid URI: %w", s, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return s, fmt.Errorf("invalid mirror: unsupported scheme %q in %q: must use either 'https://' or 'http://'", u.Scheme, u)
	case u.RawQuery != "" || u.Fragment != "":
		return s, fmt.Errorf("invalid mirror: query or fragment at end of the URI %q", u)
	case u.User != nil:
		return s, fmt.Errorf("invalid mirror: username/password not allowed in URI %q", u.Redacted())
	}
	return strings.TrimSuffix(s, "/") + "/", nil
}

// checkRegistry checks the name or network of an insecure registry.
func checkRegistry(s string) (string, error) {
	if strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return s, fmt.Errorf("invalid index name (%s). Cannot begin or end with a hyphen", s)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return s, fmt.Errorf("insecure registry %s should not contain '://'", s)
		}
		s = rest // what people write although only the name counts
	}
	if strings.Contains(s, "/") {
		if _, _, err := net.ParseCIDR(s); err != nil {
			return s, fmt.Errorf("insecure registry %s is not valid: %w", s, err)
		}
	}
	if s == "index.docker.io" {
		s = "docker.io"
	}
	return s, nil
}

// checkExecOpt checks one of the options that Docker once passed to its
// execution driver; one is left.
func checkExecOpt(s string) (string, error) {
	key, val, ok := strings.Cut(s, "=")
	key, val = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(val)
	switch {
	case !ok || key == "" || val == "":
		return s, fmt.Errorf("invalid exec-opt (%s): must be formatted 'opt=value'", s)
	case key != "native.cgroupdriver":
		return s, fmt.Errorf("invalid exec-opt (%s): unknown option: '%s'", s, key)
	case val != "cgroupfs" && val != "systemd":
		return s, fmt.Errorf("native.cgroupdriver option %s is internal, unsupported or unknown", val)
	}
	return key + "=" + val, nil
}

// SystemdCgroup tells whether systemd makes the containers' cgroups. As in Docker,
// the first word on it counts.
func (c *Config) SystemdCgroup() bool {
	return len(c.ExecOpts) > 0 && c.ExecOpts[0] == "native.cgroupdriver=systemd"
}

// checkRuntime accepts the names that people give to the built-in runtime.
func checkRuntime(o *option, v value) (string, error) {
	switch v.String() {
	case "", "runc", "gantry-runtime", "io.containerd.runc.v2":
		return "", nil
	}
	return "", errs.New(errs.Unsupported, "option %q is not supported with value %q: containers run with Gantry's own runtime", o.name(), v.String())
}

// validate checks what needs the whole configuration.
func (c *Config) validate() error {
	switch strings.ToLower(c.LogLevel) {
	case "panic", "fatal", "error", "warn", "info", "debug", "trace":
	default:
		return fmt.Errorf("invalid logging level: %s", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("invalid log format: %s", c.LogFormat)
	}
	for _, n := range []struct {
		what  string
		value int
	}{
		{"default MTU", c.MTU},
		{"max concurrent downloads", c.MaxConcurrentDownloads},
		{"max concurrent uploads", c.MaxConcurrentUploads},
		{"max download attempts", c.MaxDownloadAttempts},
		{"default stop timeout", int(c.DefaultStopTimeout.Seconds())},
	} {
		if n.value < 0 {
			return fmt.Errorf("invalid %s: %d", n.what, n.value)
		}
	}
	if c.IpcMode != "private" && c.IpcMode != "shareable" {
		return fmt.Errorf(`IPC mode %q is not supported as default value; use "shareable" or "private"`, c.IpcMode)
	}
	if c.CgroupnsMode != "" && c.CgroupnsMode != "private" && c.CgroupnsMode != "host" {
		return fmt.Errorf(`invalid default cgroup namespace (%s): use "host" or "private"`, c.CgroupnsMode)
	}
	if c.SystemdCgroup() && c.CgroupParent != "" && !isSlice(c.CgroupParent) {
		return errors.New(`cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`)
	}
	return c.validateNetwork()
}

// isSlice is Docker's idea of the name of a slice. systemd's is stricter.
func isSlice(name string) bool { return len(name) > len(".slice") && strings.HasSuffix(name, ".slice") }

func (c *Config) validateNetwork() error {
	if c.BIP.IsValid() {
		if !c.BIP.Addr().Is4() {
			return fmt.Errorf("invalid bip: %s is not an IPv4 address", c.BIP)
		}
		if c.Bridge != "" {
			return fmt.Errorf("conflicting options: cannot specify both --bridge and --bip, which is the address of Gantry's own bridge")
		}
	}
	if c.FixedCIDR.IsValid() && !c.FixedCIDR.Addr().Is4() {
		return fmt.Errorf("invalid fixed-cidr: %s is not an IPv4 subnet", c.FixedCIDR)
	}
	if c.DefaultGateway.IsValid() && !c.DefaultGateway.Is4() {
		return fmt.Errorf("invalid default-gateway: %s is not an IPv4 address", c.DefaultGateway)
	}
	return nil
}

// warnFeatures warns about feature switches that switch nothing.
func (c *Config) warnFeatures() {
	for _, name := range slices.Sorted(maps.Keys(c.Features)) {
		// Gantry's store is containerd's: this one is always on.
		if name == "containerd-snapshotter" && c.Features[name] {
			continue
		}
		c.warn("feature %s has no effect", name+"="+strconv.FormatBool(c.Features[name]))
	}
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}
