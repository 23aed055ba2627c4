package httpapi

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// endpointSysctls is the driver option that holds an endpoint's own sysctls.
const endpointSysctls = "com.docker.network.endpoint.sysctls"

// createPlatform decodes the platform parameter, which came with 1.41.
func (r *request) createPlatform() (*ocispec.Platform, error) {
	if r.version.before(41) {
		return nil, nil
	}
	return r.platform("platform")
}

// adaptCreate turns a request of API version v into one of the newest: fields
// that v does not know are reset, meanings that have changed are translated.
// It returns the warnings that Docker gives for that.
func adaptCreate(body *createBody, v version) (warnings []string, err error) {
	host := body.HostConfig
	defaultNetwork(host, body.NetworkingConfig)
	resetNewer(body, v)
	if err := adaptMounts(host, v); err != nil {
		return nil, err
	}
	if err := adaptEndpoints(body.NetworkingConfig, v); err != nil {
		return nil, err
	}
	steps := []func(*createBody, version) (string, error){warnVolumeDriver, moveMACAddress, moveSysctls, fillPortBindings}
	for _, step := range steps {
		warning, err := step(body, v)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	if host.PidsLimit != nil && *host.PidsLimit <= 0 {
		host.PidsLimit = nil // 0 and every negative number have always meant "unlimited"
	}
	return warnings, nil
}

// defaultNetwork replaces the portable name "default" by Linux's "bridge".
func defaultNetwork(host *container.HostConfig, networking *network.NetworkingConfig) {
	if host.NetworkMode != "" && !host.NetworkMode.IsDefault() {
		return
	}
	host.NetworkMode = network.NetworkBridge
	endpoints := networking.EndpointsConfig
	if endpoint, ok := endpoints[network.NetworkDefault]; ok {
		endpoints[network.NetworkBridge] = endpoint
		delete(endpoints, network.NetworkDefault)
	}
}

// resetNewer resets settings that came after v and gives those whose default
// has changed the default of their time.
func resetNewer(body *createBody, v version) {
	host := body.HostConfig
	if v.before(40) && host.IpcMode.IsEmpty() {
		host.IpcMode = container.IPCModeShareable
	}
	if v.before(42) {
		host.ConsoleSize = [2]uint{}
	}
	if v.before(43) {
		host.Annotations = nil
	}
	if v.before(44) && body.Config.Healthcheck != nil {
		body.Config.Healthcheck.StartInterval = 0
	}
	if v.before(56) {
		host.Umask = nil
	}
}

// adaptMounts resets and checks the mounts' options by version.
func adaptMounts(host *container.HostConfig, v version) error {
	for i := range host.Mounts {
		m := &host.Mounts[i]
		if v.before(42) {
			resetMountOptions(m, v)
		} else if err := checkMountOptions(m); err != nil {
			return err
		}
		if v.before(44) && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive {
			return errs.New(errs.InvalidArgument, "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
		}
		if v.before(44) && m.Type == mount.TypeBind && m.ReadOnly {
			// Read-only bind mounts were not recursive before.
			if m.BindOptions == nil {
				m.BindOptions = &mount.BindOptions{}
			}
			m.BindOptions.ReadOnlyNonRecursive = true
		}
		if v.before(45) && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "" {
			return errs.New(errs.InvalidArgument, "VolumeOptions.Subpath needs API v1.45 or newer")
		}
		if v.before(48) && m.Type == mount.TypeImage {
			return errs.New(errs.InvalidArgument, `Mount type "Image" needs API v1.48 or newer`)
		}
	}
	return nil
}

// resetMountOptions drops what versions before 1.42 ignored.
func resetMountOptions(m *mount.Mount, v version) {
	if m.Type != mount.TypeVolume {
		m.VolumeOptions = nil
	}
	if m.Type != mount.TypeTmpfs {
		m.TmpfsOptions = nil
	}
	if m.BindOptions != nil {
		m.BindOptions.CreateMountpoint = false
		m.BindOptions.NonRecursive = m.BindOptions.NonRecursive && !v.before(40)
	}
}

func checkMountOptions(m *mount.Mount) error {
	for _, option := range []struct {
		name    string
		set     bool
		allowed mount.Type
	}{
		{"VolumeOptions", m.VolumeOptions != nil, mount.TypeVolume},
		{"BindOptions", m.BindOptions != nil, mount.TypeBind},
		{"TmpfsOptions", m.TmpfsOptions != nil, mount.TypeTmpfs},
	} {
		if option.set && m.Type != option.allowed {
			return errs.New(errs.InvalidArgument, "%s must not be specified on mount type %q", option.name, m.Type)
		}
	}
	return nil
}

// adaptEndpoints checks and resets the endpoints' settings by version.
func adaptEndpoints(networking *network.NetworkingConfig, v version) error {
	endpoints := networking.EndpointsConfig
	if v.before(44) && len(endpoints) > 1 {
		names := slices.Sorted(maps.Keys(endpoints))
		return errs.New(errs.InvalidArgument, "Container cannot be created with multiple network endpoints: %s", strings.Join(names, ", "))
	}
	for _, endpoint := range endpoints {
		if endpoint == nil {
			continue
		}
		if v.before(48) {
			endpoint.GwPriority = 0
		}
		if v.before(44) {
			endpoint.MacAddress = nil // was the container's then
		}
	}
	return nil
}

// warnVolumeDriver warns that mounts do not use the container's volume driver.
func warnVolumeDriver(body *createBody, v version) (string, error) {
	if body.HostConfig.VolumeDriver == "" || v.before(48) {
		return "", nil
	}
	for _, m := range body.HostConfig.Mounts {
		own := m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil && m.VolumeOptions.DriverConfig.Name != ""
		if m.Type == mount.TypeVolume && !own {
			return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead", nil
		}
	}
	return "", nil
}

// moveMACAddress moves the container's MAC address, gone since 1.52, to the
// endpoint of its main network, and refuses 1.40's list of capabilities.
func moveMACAddress(body *createBody, v version) (string, error) {
	if len(body.older.HostConfig.Capabilities) > 0 && v == (version{1, 40}) {
		return "", errs.New(errs.InvalidArgument, "the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities")
	}
	if body.older.MacAddress == "" || !v.before(52) {
		return "", nil
	}
	parsed, err := net.ParseMAC(body.older.MacAddress)
	if err != nil {
		return "", errs.New(errs.InvalidArgument, "invalid config for network %s: invalid MAC address %s", body.HostConfig.NetworkMode.NetworkName(), body.older.MacAddress)
	}
	address := network.HardwareAddr(parsed)
	const warning = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
	mode := body.HostConfig.NetworkMode
	if mode.IsBridge() || mode.IsUserDefined() {
		endpoint, err := mainEndpoint(body, v)
		if err != nil {
			return "", errs.New(errs.InvalidArgument, "unable to migrate container-wide MAC address to a specific network: %w", err)
		}
		if len(endpoint.MacAddress) == 0 {
			endpoint.MacAddress = address
		} else if !bytes.Equal(endpoint.MacAddress, address) {
			return "", errs.New(errs.InvalidArgument, "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
		}
	} else if v.before(44) {
		return "", errs.New(errs.InvalidArgument, "conflicting options: mac-address and the network mode")
	}
	if v.before(44) {
		return "", nil
	}
	return warning, nil
}

// moveSysctls moves sysctls of the interface eth0 to the endpoint of the main
// network, where interfaces are configured, for versions before 1.48.
func moveSysctls(body *createBody, v version) (string, error) {
	host := body.HostConfig
	if !host.NetworkMode.IsPrivate() {
		return "", nil
	}
	var moved, settings []string
	for _, name := range slices.Sorted(maps.Keys(host.Sysctls)) {
		// net.FAMILY.conf.INTERFACE.SETTING
		part := strings.SplitN(name, ".", 5)
		if len(part) != 5 || part[0] != "net" || !strings.HasPrefix(part[3], "eth") {
			continue
		}
		if !v.before(48) {
			return "", errs.New(errs.InvalidArgument, "interface specific sysctl setting %q must be supplied using driver option '%s'", name, endpointSysctls)
		}
		if part[3] != "eth0" {
			return "", errs.New(errs.InvalidArgument, "unable to determine network endpoint for sysctl %s, use driver option '%s' to set per-interface sysctls", name, endpointSysctls)
		}
		moved = append(moved, name)
		settings = append(settings, fmt.Sprintf("net.%s.%s.IFNAME.%s=%s", part[1], part[2], part[4], host.Sysctls[name]))
	}
	if len(moved) == 0 {
		return "", nil
	}
	endpoint, err := mainEndpoint(body, v)
	if err != nil {
		return "", errs.New(errs.InvalidArgument, "unable to find a network for sysctl %s: %w", moved[0], err)
	}
	option := strings.Join(settings, ",")
	warning := fmt.Sprintf("Migrated sysctl %q to DriverOpts{%q:%q}.", strings.Join(moved, ","), endpointSysctls, option)
	if own, ok := endpoint.DriverOpts[endpointSysctls]; ok {
		option += "," + own // the later one wins: the endpoint's own
	}
	if endpoint.DriverOpts == nil {
		endpoint.DriverOpts = map[string]string{}
	}
	endpoint.DriverOpts[endpointSysctls] = option
	for _, name := range moved {
		delete(host.Sysctls, name)
	}
	return warning, nil
}

// fillPortBindings gives a published port without a binding one with a free
// host port, as all versions so far have done.
func fillPortBindings(body *createBody, v version) (string, error) {
	var empty []string
	for port, bindings := range body.HostConfig.PortBindings {
		if len(bindings) == 0 {
			body.HostConfig.PortBindings[port] = []network.PortBinding{{}}
			empty = append(empty, port.String())
		}
	}
	if len(empty) == 0 || v.before(52) {
		return "", nil
	}
	slices.Sort(empty)
	return fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Such bindings will be discarded in a future version.", strings.Join(empty, ", ")), nil
}

// mainEndpoint finds or makes the settings of the network that the container's
// network mode names. They may be filed under its name, ID or short ID, which
// cannot be told apart here: with settings under another key the request is
// refused, except by versions that allowed one network only.
func mainEndpoint(body *createBody, v version) (*network.EndpointSettings, error) {
	endpoints := body.NetworkingConfig.EndpointsConfig
	name := body.HostConfig.NetworkMode.NetworkName()
	if endpoint := endpoints[name]; endpoint != nil {
		return endpoint, nil
	}
	if v.before(44) {
		for _, endpoint := range endpoints {
			if endpoint != nil {
				return endpoint, nil
			}
		}
	}
	if _, isNil := endpoints[name]; len(endpoints) > 0 && !isNil {
		return nil, errs.New(errs.InvalidArgument, "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
	}
	endpoint := &network.EndpointSettings{}
	endpoints[name] = endpoint
	return endpoint, nil
}
