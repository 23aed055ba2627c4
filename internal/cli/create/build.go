package create

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/opt"
)

// Spec is what the flags describe.
type Spec struct {
	Config  *container.Config
	Host    *container.HostConfig
	Network *network.NetworkingConfig
	// UseAPISocket asks for the API socket and the registry credentials to be
	// handed to the container; the caller knows both.
	UseAPISocket bool
}

// Build checks the flag values and converts them. image and cmd are the
// arguments after the flags. Errors carry the texts of Docker's CLI.
func (f *Flags) Build(fs *pflag.FlagSet, image string, cmd []string) (*Spec, error) {
	for _, name := range windowsFlags() {
		if fs.Changed(name) {
			return nil, fmt.Errorf("%q is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux", "--"+name)
		}
	}
	if f.macAddress != "" {
		if _, err := net.ParseMAC(strings.TrimSpace(f.macAddress)); err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", f.macAddress)
		}
	}
	cfg, err := f.config(fs, image, cmd)
	if err != nil {
		return nil, err
	}
	host, err := f.hostConfig(fs)
	if err != nil {
		return nil, err
	}
	if err := f.addVolumes(cfg, host); err != nil {
		return nil, err
	}
	if err := f.addPorts(cfg, host); err != nil {
		return nil, err
	}
	if host.AutoRemove && !host.RestartPolicy.IsNone() {
		return nil, errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	cfg.StdinOnce = cfg.OpenStdin && cfg.AttachStdin
	endpoints, err := f.endpoints()
	if err != nil {
		return nil, err
	}
	host.NetworkMode = container.NetworkMode(f.networkMode())
	return &Spec{Config: cfg, Host: host, Network: endpoints, UseAPISocket: f.useAPISocket}, nil
}

// AttachGiven tells whether --attach was used.
func (f *Flags) AttachGiven() bool { return len(f.attach.Values) > 0 }

func (f *Flags) config(fs *pflag.FlagSet, image string, cmd []string) (*container.Config, error) {
	env, err := opt.KeyValues(f.envFile.Values, f.env.Values, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	labels, err := opt.KeyValues(f.labelFile.Values, f.labels.Values, nil)
	if err != nil {
		return nil, err
	}
	health, err := f.health()
	if err != nil {
		return nil, err
	}
	cfg := &container.Config{
		Hostname: f.hostname, Domainname: f.domainname, User: f.user,
		Tty: f.tty, OpenStdin: f.stdin, Env: dedupeEnv(env), Image: image,
		Labels: opt.ToMap(labels), WorkingDir: f.workdir, StopSignal: f.stopSignal,
		Healthcheck: health, Volumes: map[string]struct{}{},
	}
	if len(cmd) > 0 {
		cfg.Cmd = cmd
	}
	f.setStreams(cfg)
	if fs.Changed("entrypoint") {
		// An empty value clears the image's entrypoint; the API has [""] for that.
		cfg.Entrypoint = []string{f.entrypoint}
	}
	if fs.Changed("stop-timeout") {
		cfg.StopTimeout = &f.stopTimeout
	}
	return cfg, nil
}

func (f *Flags) setStreams(cfg *container.Config) {
	has := func(name string) bool { return slices.Contains(f.attach.Values, name) }
	none := len(f.attach.Values) == 0
	cfg.AttachStdin = f.stdin || has("stdin")
	cfg.AttachStdout = none || has("stdout")
	cfg.AttachStderr = none || has("stderr")
}

// dedupeEnv keeps the last value of each variable at the place of the first.
func dedupeEnv(env []string) []string {
	at := make(map[string]int, len(env))
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

func (f *Flags) health() (*container.HealthConfig, error) {
	given := f.healthCmd != "" || f.healthInterval != 0 || f.healthTimeout != 0 ||
		f.healthStartPeriod != 0 || f.healthRetries != 0 || f.healthStartInterval != 0
	if f.noHealthcheck {
		if given {
			return nil, errors.New("--no-healthcheck conflicts with --health-* options")
		}
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	}
	if !given {
		return nil, nil
	}
	switch {
	case f.healthInterval < 0:
		return nil, errors.New("--health-interval cannot be negative")
	case f.healthTimeout < 0:
		return nil, errors.New("--health-timeout cannot be negative")
	case f.healthRetries < 0:
		return nil, errors.New("--health-retries cannot be negative")
	case f.healthStartPeriod < 0:
		return nil, errors.New("--health-start-period cannot be negative")
	case f.healthStartInterval < 0:
		return nil, errors.New("--health-start-interval cannot be negative")
	}
	h := &container.HealthConfig{
		Interval: f.healthInterval, Timeout: f.healthTimeout, Retries: f.healthRetries,
		StartPeriod: f.healthStartPeriod, StartInterval: f.healthStartInterval,
	}
	if f.healthCmd != "" {
		h.Test = []string{"CMD-SHELL", f.healthCmd}
	}
	return h, nil
}

// onFailure is the annotation that carries --health-on-failure to the daemon.
const onFailure = "gantry.health.on-failure"

// OnFailure adds what --health-on-failure says to annotations, which may be nil.
func OnFailure(annotations map[string]string, action string) map[string]string {
	if action == "" {
		return annotations
	}
	out := map[string]string{}
	maps.Copy(out, annotations)
	out[onFailure] = action
	return out
}

func (f *Flags) hostConfig(fs *pflag.FlagSet) (*container.HostConfig, error) {
	restart, err := ParseRestart(f.restart)
	if err != nil {
		return nil, err
	}
	logOpts := opt.ToMap(f.logOpts.Values)
	if f.logDriver == "none" && len(logOpts) > 0 {
		return nil, errors.New("invalid logging opts for driver none")
	}
	security, masked, readOnly, err := f.security()
	if err != nil {
		return nil, err
	}
	res, err := f.resources()
	if err != nil {
		return nil, err
	}
	host := &container.HostConfig{
		ContainerIDFile: f.cidFile, RestartPolicy: restart, AutoRemove: f.autoRemove,
		LogConfig:    container.LogConfig{Type: f.logDriver, Config: logOpts},
		VolumeDriver: f.volumeDriver, VolumesFrom: f.volumesFrom.Values,
		Annotations: OnFailure(f.annotations.Values, f.healthOnFailure), CapAdd: f.capAdd.Values, CapDrop: f.capDrop.Values,
		CgroupnsMode: container.CgroupnsMode(f.cgroupns), DNS: addrs(f.dns.Values),
		DNSOptions: emptyNotNil(f.dnsOptions.Values), DNSSearch: emptyNotNil(f.dnsSearch.Values),
		ExtraHosts: f.extraHosts.Values, GroupAdd: f.groupAdd.Values,
		IpcMode: container.IpcMode(f.ipc), Links: f.links.Values, OomScoreAdj: f.oomScoreAdj,
		PidMode: container.PidMode(f.pid), Privileged: f.privileged, PublishAllPorts: f.publishAll,
		ReadonlyRootfs: f.readOnly, SecurityOpt: security, UTSMode: container.UTSMode(f.uts),
		UsernsMode: container.UsernsMode(f.userns), ShmSize: int64(f.shmSize),
		Sysctls: f.sysctls.Values, Runtime: f.runtime, Isolation: container.Isolation(f.isolation),
		Resources: res, Mounts: f.mounts.values, MaskedPaths: masked, ReadonlyPaths: readOnly,
	}
	if fs.Changed("init") {
		host.Init = &f.init
	}
	if host.StorageOpt, err = storageOpts(f.storageOpts.Values); err != nil {
		return nil, err
	}
	return host, checkModes(host)
}

func checkModes(host *container.HostConfig) error {
	switch {
	case !host.PidMode.Valid():
		return errors.New("--pid: invalid PID mode")
	case !host.UTSMode.Valid():
		return errors.New("--uts: invalid UTS mode")
	case !host.UsernsMode.Valid():
		return errors.New("--userns: invalid USER mode")
	case !host.CgroupnsMode.Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	}
	return nil
}

func (f *Flags) resources() (container.Resources, error) {
	if f.swappiness != -1 && (f.swappiness < 0 || f.swappiness > 100) {
		return container.Resources{}, fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", f.swappiness)
	}
	devices, cdi, err := parseDevices(f.devices.Values)
	if err != nil {
		return container.Resources{}, err
	}
	requests := f.gpus.values
	if len(cdi) > 0 {
		requests = append(requests, container.DeviceRequest{Driver: "cdi", DeviceIDs: cdi})
	}
	return container.Resources{
		CgroupParent: f.cgroupParent, Memory: int64(f.memory),
		MemoryReservation: int64(f.memoryReservation), MemorySwap: int64(f.memorySwap),
		MemorySwappiness: &f.swappiness, OomKillDisable: &f.oomKillDisable,
		NanoCPUs: int64(f.cpus), CPUCount: f.cpuCount, CPUPercent: f.cpuPercent,
		CPUShares: f.cpuShares, CPUPeriod: f.cpuPeriod, CPUQuota: f.cpuQuota,
		CPURealtimePeriod: f.cpuRTPeriod, CPURealtimeRuntime: f.cpuRTRuntime,
		CpusetCpus: f.cpusetCPUs, CpusetMems: f.cpusetMems, PidsLimit: &f.pidsLimit,
		BlkioWeight: f.blkioWeight, BlkioWeightDevice: f.blkioWeights.values,
		BlkioDeviceReadBps: f.readBps.values, BlkioDeviceWriteBps: f.writeBps.values,
		BlkioDeviceReadIOps: f.readIOps.values, BlkioDeviceWriteIOps: f.writeIOps.values,
		IOMaximumIOps: f.ioMaxIOps, IOMaximumBandwidth: uint64(f.ioMaxBandwidth),
		Ulimits: f.ulimits.Values, DeviceCgroupRules: f.deviceRules.Values,
		Devices: devices, DeviceRequests: requests,
	}, nil
}

// ParseRestart reads a restart policy such as "on-failure:3".
func ParseRestart(v string) (container.RestartPolicy, error) {
	if v == "" {
		return container.RestartPolicy{}, nil
	}
	name, count, ok := strings.Cut(v, ":")
	if ok && name == "" {
		return container.RestartPolicy{}, errors.New("invalid restart policy format: no policy provided before colon")
	}
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return container.RestartPolicy{}, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaximumRetryCount = n
	}
	return p, nil
}

// security resolves --security-opt: a seccomp profile is read here, since the
// file is on the client's machine, and systempaths=unconfined means empty
// lists of masked and read-only paths.
func (f *Flags) security() (opts, masked, readOnly []string, err error) {
	for _, o := range f.securityOpts.Values {
		if o == "systempaths=unconfined" {
			masked, readOnly = []string{}, []string{}
			continue
		}
		key, val, ok := strings.Cut(o, "=")
		if !ok {
			key, val, ok = strings.Cut(o, ":")
		}
		if key != "no-new-privileges" && (!ok || val == "") {
			//lint:ignore ST1005 Docker's text
			return nil, nil, nil, fmt.Errorf("Invalid --security-opt: %q", o)
		}
		if key == "seccomp" && val != "unconfined" && val != "builtin" {
			profile, err := readSeccomp(val)
			if err != nil {
				return nil, nil, nil, err
			}
			o = "seccomp=" + profile
		}
		opts = append(opts, o)
	}
	return opts, masked, readOnly, nil
}

func readSeccomp(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", name, err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", name, err)
	}
	return b.String(), nil
}

func storageOpts(values []string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(values))
	for _, v := range values {
		key, val, ok := strings.Cut(v, "=")
		if !ok {
			return nil, errors.New("invalid storage option")
		}
		m[key] = val
	}
	return m, nil
}

func addrs(values []string) []netip.Addr {
	out := make([]netip.Addr, 0, len(values))
	for _, v := range values {
		if a, err := netip.ParseAddr(v); err == nil { // checkIP has seen to it
			out = append(out, a)
		}
	}
	return out
}

func emptyNotNil(v []string) []string {
	if v == nil {
		return []string{}
	}
	return v
}
