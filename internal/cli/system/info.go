package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/go-units"
	apiregistry "github.com/moby/moby/api/types/registry"
	apisystem "github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/render"
	"github.com/gantry-run/gantry/internal/cli/session"
)

// clientInfo is what a template finds below .ClientInfo.
type clientInfo struct {
	Debug bool
	clientVersion
	Plugins  []string
	Warnings []string
}

// info is what a template sees.
type info struct {
	*apisystem.Info `json:",omitempty"`
	ServerErrors    []string    `json:",omitempty"`
	ClientInfo      *clientInfo `json:",omitempty"`
}

// NewInfo makes the command "info".
func NewInfo(s *session.Session) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:         "info [OPTIONS]",
		Short:       "Show the state and the settings of client and daemon",
		Args:        session.NoArgs,
		Annotations: aliases("system info", "info"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showInfo(cmd.Context(), s, format)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", session.InspectFormatHelp)
	return cmd
}

func showInfo(ctx context.Context, s *session.Session, format string) error {
	in := info{Info: &apisystem.Info{}, ClientInfo: &clientInfo{
		Debug: s.Opts.Debug, clientVersion: clientVersion{Version: s.Build.Version, Context: s.ContextName()},
		Plugins: []string{},
	}}
	c, err := s.Client()
	if err != nil {
		return err
	}
	server, serverErr := c.Info(ctx)
	if serverErr == nil {
		in.Info = &server
	} else {
		in.ServerErrors = []string{serverErr.Error()}
	}
	if format != "" {
		return formatInfo(s, in, format, serverErr)
	}
	var b bytes.Buffer
	p := printer{w: &b}
	p.line("Client:")
	p.line(" Version:    %s", s.Build.Version)
	p.line(" Context:    %s", s.ContextName())
	p.line(" Debug Mode: %v", s.Opts.Debug)
	p.line("")
	p.line("Server:")
	if serverErr == nil {
		p.server(s, in.Info)
	}
	if _, err := s.Out.Write(b.Bytes()); err != nil {
		return err
	}
	if serverErr != nil {
		return serverErr
	}
	for _, w := range in.Warnings() {
		fmt.Fprintln(s.Err, w)
	}
	return nil
}

// Warnings are the daemon's.
func (i info) Warnings() []string {
	if i.Info == nil {
		return nil
	}
	return i.Info.Warnings
}

func formatInfo(s *session.Session, in info, format string, serverErr error) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := render.ParseTemplate(format)
	if err != nil {
		return &session.ExitError{Code: 64, Err: err}
	}
	var b bytes.Buffer
	if err := t.Execute(&b, in); err != nil && serverErr == nil {
		return err
	}
	b.WriteByte('\n')
	if _, err := s.Out.Write(b.Bytes()); err != nil {
		return err
	}
	return serverErr
}

// printer writes the lines of the text form. What is empty is left out.
type printer struct{ w io.Writer }

func (p printer) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

func (p printer) opt(name, value string) {
	if value != "" {
		p.line(" %s: %s", name, value)
	}
}

func (p printer) list(title string, values []string) {
	if len(values) == 0 {
		return
	}
	p.line(" %s:", title)
	for _, v := range values {
		p.line("  %s", v)
	}
}

func (p printer) server(s *session.Session, i *apisystem.Info) {
	p.line(" Containers: %d", i.Containers)
	p.line("  Running: %d", i.ContainersRunning)
	p.line("  Paused: %d", i.ContainersPaused)
	p.line("  Stopped: %d", i.ContainersStopped)
	p.line(" Images: %d", i.Images)
	p.opt("Server Version", i.ServerVersion)
	p.opt("Storage Driver", i.Driver)
	for _, kv := range i.DriverStatus {
		p.line("  %s: %s", kv[0], kv[1])
	}
	p.opt("Logging Driver", i.LoggingDriver)
	p.opt("Cgroup Driver", i.CgroupDriver)
	p.opt("Cgroup Version", i.CgroupVersion)
	p.plugins(i)
	p.list("CDI spec directories", i.CDISpecDirs)
	p.devices(i)
	p.swarm(i)
	p.runtimes(i)
	p.security(i)
	p.opt("Kernel Version", i.KernelVersion)
	p.opt("Operating System", i.OperatingSystem)
	p.opt("OSType", i.OSType)
	p.opt("Architecture", i.Architecture)
	p.line(" CPUs: %d", i.NCPU)
	p.line(" Total Memory: %s", units.BytesSize(float64(i.MemTotal)))
	p.opt("Name", i.Name)
	p.opt("ID", i.ID)
	p.line(" Docker Root Dir: %s", i.DockerRootDir)
	p.line(" Debug Mode: %v", i.Debug)
	if i.Debug {
		p.line("  File Descriptors: %d", i.NFd)
		p.line("  Goroutines: %d", i.NGoroutines)
		p.line("  System Time: %s", i.SystemTime)
		p.line("  EventsListeners: %d", i.NEventsListener)
	}
	p.opt("HTTP Proxy", i.HTTPProxy)
	p.opt("HTTPS Proxy", i.HTTPSProxy)
	p.opt("No Proxy", i.NoProxy)
	p.userName(s, i)
	p.list("Labels", i.Labels)
	p.line(" Experimental: %v", i.ExperimentalBuild)
	p.registry(i.RegistryConfig)
	p.line(" Live Restore Enabled: %v", i.LiveRestoreEnabled)
	p.opt("Product License", i.ProductLicense)
	p.tail(i)
}

func (p printer) plugins(i *apisystem.Info) {
	p.line(" Plugins:")
	p.line("  Volume: %s", strings.Join(i.Plugins.Volume, " "))
	p.line("  Network: %s", strings.Join(i.Plugins.Network, " "))
	if len(i.Plugins.Authorization) > 0 {
		p.line("  Authorization: %s", strings.Join(i.Plugins.Authorization, " "))
	}
	p.line("  Log: %s", strings.Join(i.Plugins.Log, " "))
}

func (p printer) devices(i *apisystem.Info) {
	if len(i.DiscoveredDevices) == 0 {
		return
	}
	p.line(" Discovered Devices:")
	for _, d := range i.DiscoveredDevices {
		p.line("  %s: %s", d.Source, d.ID)
	}
}

func (p printer) swarm(i *apisystem.Info) {
	p.line(" Swarm: %s", i.Swarm.LocalNodeState)
	if i.Swarm.LocalNodeState == "" || i.Swarm.LocalNodeState == "inactive" || i.Swarm.LocalNodeState == "locked" {
		return
	}
	p.line("  NodeID: %s", i.Swarm.NodeID)
	if i.Swarm.Error != "" {
		p.line("  Error: %s", i.Swarm.Error)
	}
	p.line("  Is Manager: %v", i.Swarm.ControlAvailable)
	if i.Swarm.Cluster != nil && i.Swarm.ControlAvailable {
		p.line("  ClusterID: %s", i.Swarm.Cluster.ID)
		p.line("  Managers: %d", i.Swarm.Managers)
		p.line("  Nodes: %d", i.Swarm.Nodes)
	}
	p.line("  Node Address: %s", i.Swarm.NodeAddr)
}

func (p printer) runtimes(i *apisystem.Info) {
	if len(i.Runtimes) > 0 {
		p.line(" Runtimes: %s", strings.Join(render.SortedKeys(i.Runtimes), " "))
		p.line(" Default Runtime: %s", i.DefaultRuntime)
	}
	p.opt("Init Binary", i.InitBinary)
	p.line(" containerd version: %s", i.ContainerdCommit.ID)
	p.line(" runc version: %s", i.RuncCommit.ID)
	p.line(" init version: %s", i.InitCommit.ID)
}

// security shows each option's name and, below it, its settings.
func (p printer) security(i *apisystem.Info) {
	if len(i.SecurityOptions) == 0 {
		return
	}
	p.line(" Security Options:")
	for _, o := range i.SecurityOptions {
		name := o
		var rest []string
		for kv := range strings.SplitSeq(o, ",") {
			k, v, ok := strings.Cut(kv, "=")
			switch {
			case ok && k == "name":
				name = v
			case ok && k == "profile":
				rest = append(rest, "Profile: "+v)
			case ok:
				rest = append(rest, k+": "+v)
			}
		}
		p.line("  %s", name)
		for _, r := range rest {
			p.line("   %s", r)
		}
	}
}

func (p printer) userName(s *session.Session, i *apisystem.Info) {
	if i.IndexServerAddress == "" {
		return
	}
	if a, ok := s.Config().Auths[i.IndexServerAddress]; !ok || a.Auth == "" {
		return // credential helpers are not asked for a line of text
	}
	if a, err := credential.Get(s.Config(), i.IndexServerAddress); err == nil && a.Username != "" {
		p.line(" Username: %s", a.Username)
	}
}

func (p printer) registry(r *apiregistry.ServiceConfig) {
	if r == nil {
		return
	}
	var insecure []string
	for _, name := range render.SortedKeys(r.IndexConfigs) {
		if !r.IndexConfigs[name].Secure {
			insecure = append(insecure, name)
		}
	}
	for _, n := range r.InsecureRegistryCIDRs {
		insecure = append(insecure, n.String())
	}
	p.list("Insecure Registries", insecure)
	p.list("Registry Mirrors", slices.Clone(r.Mirrors))
}

func (p printer) tail(i *apisystem.Info) {
	if len(i.DefaultAddressPools) > 0 {
		p.line(" Default Address Pools:")
		for _, pool := range i.DefaultAddressPools {
			p.line("   Base: %s, Size: %d", pool.Base, pool.Size)
		}
	}
	if i.FirewallBackend != nil {
		p.line(" Firewall Backend: %s", i.FirewallBackend.Driver)
		for _, kv := range i.FirewallBackend.Info {
			p.line("  %s: %s", kv[0], kv[1])
		}
	}
	p.line("")
}
