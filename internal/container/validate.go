package container

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	networktypes "github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/logship"
)

// validate checks a configuration by itself. What the machine cannot give is
// taken out of h, with a warning. update is for a container that exists.
func validate(cfg *container.Config, h *container.HostConfig, m machine, update bool) (warnings []string, err error) {
	checks := []func(*container.Config, *container.HostConfig) error{
		validateProcess, validateHealthTimes, validateModes, validateRestart, validateSecurity, validateLog, validateHealth,
	}
	if !update { // later the record has a host name and ports, whosever they are
		checks = append([]func(*container.Config, *container.HostConfig) error{validateJoined}, checks...)
	}
	for _, check := range checks {
		if err := check(cfg, h); err != nil {
			return []string{}, err
		}
	}
	warnings = append([]string{}, discardUnsupported(&h.Resources, m)...)
	if err := checkResources(&h.Resources, m, update); err != nil {
		return warnings, err
	}
	if err := validateBindings(h.PortBindings); err != nil {
		return warnings, err
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

// maxHostname is the kernel's limit.
const maxHostname = 64

func validateProcess(cfg *container.Config, h *container.HostConfig) error {
	if cfg.WorkingDir != "" && !path.IsAbs(cfg.WorkingDir) {
		return errs.New(errs.InvalidArgument, "the working directory '%s' is invalid, it needs to be an absolute path", cfg.WorkingDir)
	}
	if len(cfg.Hostname) > maxHostname {
		return errs.New(errs.InvalidArgument, "invalid hostname: %s: it is longer than %d characters", cfg.Hostname, maxHostname)
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

// minHealthDuration is the shortest time that a health check can be given.
const minHealthDuration = time.Millisecond

func validateHealthTimes(cfg *container.Config, _ *container.HostConfig) error {
	health := cfg.Healthcheck
	if health == nil {
		return nil
	}
	if health.Retries < 0 {
		return errs.New(errs.InvalidArgument, "Retries in Healthcheck cannot be negative")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", health.Interval}, {"Timeout", health.Timeout}, {"StartPeriod", health.StartPeriod}, {"StartInterval", health.StartInterval}} {
		if d.value != 0 && d.value < minHealthDuration {
			return errs.New(errs.InvalidArgument, "%s in Healthcheck cannot be less than %s", d.name, minHealthDuration)
		}
	}
	return nil
}

// validateJoined refuses settings of a network that the container does not have
// of its own.
func validateJoined(cfg *container.Config, h *container.HostConfig) error {
	conflict := func(what string) error {
		return errs.New(errs.InvalidArgument, "conflicting options: %s", what)
	}
	if h.UTSMode.IsHost() && cfg.Hostname != "" {
		return conflict("hostname and the UTS mode")
	}
	if h.NetworkMode.IsHost() && len(h.Links) > 0 {
		return conflict("host type networking can't be used with links. This would result in undefined behavior")
	}
	if !h.NetworkMode.IsContainer() {
		return nil
	}
	switch {
	case h.NetworkMode.ConnectedContainer() == "":
		return errs.New(errs.InvalidArgument, "invalid network mode: invalid container format container:<name|id>")
	case cfg.Hostname != "":
		return conflict("hostname and the network mode")
	case len(h.Links) > 0:
		return conflict("container type network can't be used with links. This would result in undefined behavior")
	case len(h.DNS) > 0:
		return conflict("dns and the network mode")
	case len(h.ExtraHosts) > 0:
		return conflict("custom host-to-IP mapping and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return conflict("port publishing and the container type network mode")
	case len(cfg.ExposedPorts) > 0:
		return conflict("port exposing and the container type network mode")
	}
	return nil
}

func validateBindings(ports networktypes.PortMap) error {
	for _, bindings := range ports {
		for _, b := range bindings {
			if _, err := networktypes.ParsePortRange(b.HostPort); b.HostPort != "" && err != nil {
				return errs.New(errs.InvalidArgument, "invalid port specification: %q", b.HostPort)
			}
		}
	}
	return nil
}

func validateModes(_ *container.Config, h *container.HostConfig) error {
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
		return errs.New(errs.InvalidArgument, "invalid cgroup namespace mode: %v", h.CgroupnsMode)
	}
	if !h.UsernsMode.Valid() {
		return errs.New(errs.InvalidArgument, "invalid userns mode: %v", h.UsernsMode)
	}
	if h.Isolation != "" && !h.Isolation.IsDefault() {
		return errs.New(errs.InvalidArgument, "invalid isolation (%s): linux only supports 'default'", h.Isolation)
	}
	if h.ShmSize < 0 {
		return errs.New(errs.InvalidArgument, "SHM size can not be less than 0")
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return errs.New(errs.InvalidArgument, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if _, ok := h.Annotations[""]; ok {
		return errs.New(errs.InvalidArgument, "invalid Annotations: the empty string is not permitted as an annotation key")
	}
	switch h.Runtime {
	case DefaultRuntime, "runc", "io.containerd.runc.v2":
	default:
		return errs.New(errs.InvalidArgument, "unknown or invalid runtime name: %s", h.Runtime)
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
	if err := validateLogMode(h.LogConfig.Config); err != nil {
		return err
	}
	_, err := logSettings(h.LogConfig)
	return err
}

func validateLogMode(opts map[string]string) error {
	mode := opts["mode"]
	if mode != "" && mode != "blocking" && mode != "non-blocking" {
		return errs.New(errs.InvalidArgument, "logger: logging mode not supported: %s", mode)
	}
	size, ok := opts["max-buffer-size"]
	if !ok {
		return nil
	}
	if mode != "non-blocking" {
		return errs.New(errs.InvalidArgument, "logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := units.RAMInBytes(size); err != nil {
		return errs.New(errs.InvalidArgument, "error parsing option max-buffer-size: %w", err)
	}
	return nil
}

// checkModes verifies what refers to other objects: networks and containers
// whose namespaces are joined.
func (s *Service) checkModes(ctx context.Context, h *container.HostConfig, network *networktypes.NetworkingConfig) error {
	if err := s.pinModes(h); err != nil {
		return err
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
