package container

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/logship"
)

// minMemory is the smallest memory limit Docker accepts, in bytes.
const minMemory = 6 << 20

var hostnamePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$`)
})

// validate checks a configuration by itself. Pure.
func validate(cfg *container.Config, h *container.HostConfig) (warnings []string, err error) {
	warnings = []string{}
	checks := []func(*container.Config, *container.HostConfig) error{
		validateProcess, validateModes, validateRestart, validateResources, validateSecurity, validateLog, validateHealth,
	}
	for _, check := range checks {
		if err := check(cfg, h); err != nil {
			return warnings, err
		}
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

func validateProcess(cfg *container.Config, h *container.HostConfig) error {
	if cfg.WorkingDir != "" && !path.IsAbs(cfg.WorkingDir) {
		return errs.New(errs.InvalidArgument, "the working directory '%s' is invalid, it needs to be an absolute path", cfg.WorkingDir)
	}
	if cfg.Hostname != "" && (len(cfg.Hostname) > 63 || !hostnamePattern().MatchString(cfg.Hostname)) {
		return errs.New(errs.InvalidArgument, "invalid hostname: %s", cfg.Hostname)
	}
	for _, e := range cfg.Env {
		if k, _, _ := strings.Cut(e, "="); k == "" {
			return errs.New(errs.InvalidArgument, "invalid environment variable: %s", e)
		}
	}
	if cfg.StopSignal != "" {
		if _, err := signal.ParseSignal(cfg.StopSignal); err != nil {
			return errs.Wrap(errs.InvalidArgument, err)
		}
	}
	for _, host := range h.ExtraHosts {
		if !strings.ContainsAny(host, ":=") {
			return errs.New(errs.InvalidArgument, "bad format for add-host: %q", host)
		}
	}
	return nil
}

func validateModes(cfg *container.Config, h *container.HostConfig) error {
	if h.NetworkMode.IsHost() && h.UTSMode.IsHost() && cfg.Hostname != "" {
		return errs.New(errs.InvalidArgument, "conflicting options: hostname and the UTS mode")
	}
	if !h.IpcMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid IPC mode: %v", h.IpcMode)
	}
	if !h.PidMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid PID mode: %v", h.PidMode)
	}
	if !h.UTSMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid UTS mode: %v", h.UTSMode)
	}
	if !h.CgroupnsMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid CgroupNS mode: %v", h.CgroupnsMode)
	}
	if !h.UsernsMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid userns mode: %v", h.UsernsMode)
	}
	if h.Runtime != DefaultRuntime && h.Runtime != "runc" {
		return errs.New(errs.InvalidArgument, "unknown or invalid runtime name: %s", h.Runtime)
	}
	if len(h.DeviceRequests) > 0 {
		return errs.New(errs.InvalidArgument, "could not select device driver %q with capabilities: %v", h.DeviceRequests[0].Driver, h.DeviceRequests[0].Capabilities)
	}
	if len(h.StorageOpt) > 0 {
		return errs.New(errs.InvalidArgument, "--storage-opt is not supported by the overlay storage driver: %v", h.StorageOpt)
	}
	if len(h.Links) > 0 {
		return errs.New(errs.Unsupported, "legacy links are not supported: use a user-defined network instead of --link")
	}
	return nil
}

func validateRestart(_ *container.Config, h *container.HostConfig) error {
	p := h.RestartPolicy
	switch p.Name {
	case container.RestartPolicyDisabled, container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		if p.MaximumRetryCount != 0 {
			return errs.New(errs.InvalidArgument, "invalid restart policy: maximum retry count can only be used with 'on-failure'")
		}
	case container.RestartPolicyOnFailure:
		if p.MaximumRetryCount < 0 {
			return errs.New(errs.InvalidArgument, "invalid restart policy: maximum retry count cannot be negative")
		}
	default:
		return errs.New(errs.InvalidArgument, "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Name)
	}
	if h.AutoRemove && !p.IsNone() {
		return errs.New(errs.InvalidArgument, "can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

func validateResources(_ *container.Config, h *container.HostConfig) error {
	switch {
	case h.Memory != 0 && h.Memory < minMemory:
		return errs.New(errs.InvalidArgument, "Minimum memory limit allowed is 6MB")
	case h.MemorySwap > 0 && h.Memory == 0:
		return errs.New(errs.InvalidArgument, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case h.MemorySwap > 0 && h.MemorySwap < h.Memory:
		return errs.New(errs.InvalidArgument, "Minimum memoryswap limit should be larger than memory limit, see usage")
	case h.MemoryReservation > 0 && h.Memory > 0 && h.Memory < h.MemoryReservation:
		return errs.New(errs.InvalidArgument, "Minimum memory limit can not be less than memory reservation limit, see usage")
	case h.NanoCPUs > 0 && (h.CPUQuota > 0 || h.CPUPeriod > 0):
		return errs.New(errs.InvalidArgument, "Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
	case h.NanoCPUs < 0:
		return errs.New(errs.InvalidArgument, "invalid value for NanoCPUs: %d", h.NanoCPUs)
	case h.CPUPeriod != 0 && (h.CPUPeriod < 1000 || h.CPUPeriod > 1000000):
		return errs.New(errs.InvalidArgument, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case h.CPUQuota > 0 && h.CPUQuota < 1000:
		return errs.New(errs.InvalidArgument, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case h.ShmSize < 0:
		return errs.New(errs.InvalidArgument, "SHM size can not be less than 0")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return errs.New(errs.InvalidArgument, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case h.MemorySwappiness != nil && (*h.MemorySwappiness < -1 || *h.MemorySwappiness > 100):
		return errs.New(errs.InvalidArgument, "Invalid value: %v, valid memory swappiness range is 0-100", *h.MemorySwappiness)
	case h.BlkioWeight > 0 && (h.BlkioWeight < 10 || h.BlkioWeight > 1000):
		return errs.New(errs.InvalidArgument, "Range of blkio weight is from 10 to 1000")
	}
	return nil
}

func validateSecurity(_ *container.Config, h *container.HostConfig) error {
	if _, err := capabilities(h); err != nil {
		return err
	}
	_, err := parseSecurity(h)
	return err
}

// logOptions are those that the drivers with a log of their own take.
var logOptions = map[string][]string{
	logJSON:  {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"},
	logLocal: {"max-size", "max-file", "compress", "mode", "max-buffer-size"},
}

// notDrivers are drivers of Docker's that Gantry does not have.
var notDrivers = []string{"awslogs", "gcplogs", "etwlogs"}

func validateLog(_ *container.Config, h *container.HostConfig) error {
	kind := h.LogConfig.Type
	known, own := logOptions[kind]
	switch {
	case kind == logNone:
		return nil
	case slices.Contains(notDrivers, kind):
		return errs.New(errs.InvalidArgument, "logger: the log driver '%s' is not supported: an agent that fluentd, syslog or gelf sends to can pass the lines on", kind)
	case !own:
		if err := logship.Validate(kind, h.LogConfig.Config); err != nil {
			return err
		}
	}
	for k := range h.LogConfig.Config {
		if own && !slices.Contains(known, k) {
			return errs.New(errs.InvalidArgument, "unknown log opt '%s' for %s log driver", k, kind)
		}
	}
	_, err := logSettings(h.LogConfig)
	return err
}

// checkModes verifies what refers to other objects: networks and containers
// whose namespaces are joined.
func (s *Service) checkModes(ctx context.Context, h *container.HostConfig, network *networktypes.NetworkingConfig) error {
	for _, ref := range []string{h.NetworkMode.ConnectedContainer(), h.PidMode.Container(), h.IpcMode.Container()} {
		if ref == "" {
			continue
		}
		if _, err := s.find(ref); err != nil {
			return badReference(err)
		}
	}
	if h.NetworkMode.IsContainer() || h.NetworkMode.IsHost() || h.NetworkMode.IsNone() {
		return nil
	}
	var endpoints map[string]*networktypes.EndpointSettings
	if network != nil {
		endpoints = network.EndpointsConfig
	}
	return badReference(s.Networks.Check(ctx, string(h.NetworkMode), endpoints))
}

// badReference makes an unknown network or container a fault of the request: a
// client that gets "not found" from create takes the image for missing, and pulls.
func badReference(err error) error {
	if errs.Is(err, errs.NotFound) {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	return err
}

func parseBool(v string) (bool, error) {
	switch v {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("invalid boolean %q", v)
}
