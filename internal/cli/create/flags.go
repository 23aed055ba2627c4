// Package create turns the flags of "run" and "create" into the API's
// container configuration: Flags.Register declares them, Flags.Build is the
// pure step from flag values to Config, HostConfig and NetworkingConfig.
//
// Files that flags name (env files, label files, seccomp profiles) are read
// here; the daemon is never asked anything. What happens with the result
// (pull, create, start, attach) belongs to package container.
package create

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/opt"
)

// Flags holds every flag that describes a container. The zero value becomes
// usable through Register.
type Flags struct {
	attach, volumes, env, envFile, labels, labelFile, devices, deviceRules opt.List
	dns, dnsOptions, dnsSearch, extraHosts, groupAdd, publish, expose      opt.List
	aliases, links, linkLocalIPs, logOpts, securityOpts, storageOpts       opt.List
	tmpfs, volumesFrom, capAdd, capDrop                                    opt.List
	annotations, sysctls                                                   opt.Map
	ulimits                                                                opt.Ulimits
	mounts                                                                 mounts
	networks                                                               networks
	gpus                                                                   gpus
	blkioWeights                                                           weightDevices
	readBps, writeBps, readIOps, writeIOps                                 throttleDevices

	memory, memoryReservation, kernelMemory, shmSize, ioMaxBandwidth opt.Bytes
	memorySwap                                                       opt.SwapBytes
	cpus                                                             opt.CPUs

	hostname, domainname, user, workdir, entrypoint, cidFile string
	cgroupParent, cgroupns, cpusetCPUs, cpusetMems           string
	ip, ip6, ipc, pid, uts, userns, macAddress               string
	logDriver, restart, runtime, stopSignal, volumeDriver    string
	isolation, healthCmd, healthOnFailure                    string

	tty, stdin, privileged, readOnly, publishAll, autoRemove bool
	oomKillDisable, noHealthcheck, init, useAPISocket        bool

	blkioWeight                             uint16
	cpuPeriod, cpuQuota, cpuRTPeriod        int64
	cpuRTRuntime, cpuShares, cpuCount       int64
	cpuPercent, swappiness, pidsLimit       int64
	ioMaxIOps                               uint64
	oomScoreAdj, stopTimeout, healthRetries int
	healthInterval, healthTimeout           time.Duration
	healthStartPeriod, healthStartInterval  time.Duration
}

// Register declares the flags on fs.
func (f *Flags) Register(fs *pflag.FlagSet) {
	fs.SetInterspersed(false)
	f.registerProcess(fs)
	f.registerResources(fs)
	f.registerIsolation(fs)
	f.registerNetwork(fs)
	f.registerStorage(fs)
	f.registerHealthAndLogs(fs)
	for _, name := range windowsFlags() {
		hide(fs, name, true)
	}
}

func (f *Flags) registerProcess(fs *pflag.FlagSet) {
	f.attach.Check = checkStream
	f.env.Check = opt.EnvCheck
	f.labels.Check = opt.LabelCheck
	fs.VarP(&f.attach, "attach", "a", "Connect to STDIN, STDOUT or STDERR of the container")
	fs.VarP(&f.env, "env", "e", "Set an environment variable")
	fs.Var(&f.envFile, "env-file", "Read environment variables from a file")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "Program that replaces the ENTRYPOINT of the image")
	fs.VarP(&f.labels, "label", "l", "Set a label on the container")
	fs.Var(&f.labelFile, "label-file", "Read labels from a file, one per line")
	fs.Var(&f.annotations, "annotation", "Add an annotation that the OCI runtime receives")
	fs.BoolVarP(&f.stdin, "interactive", "i", false, "Keep STDIN open, attached or not")
	fs.BoolVarP(&f.tty, "tty", "t", false, "Give the container a pseudo-TTY")
	fs.StringVarP(&f.user, "user", "u", "", "User name or UID (format: <name|uid>[:<group|gid>])")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "Working directory inside the container")
	fs.Var(&f.groupAdd, "group-add", "Join an additional group")
	fs.StringVar(&f.stopSignal, "stop-signal", "", "Signal that stops the container")
	fs.IntVar(&f.stopTimeout, "stop-timeout", 0, "Seconds to wait after the stop signal before killing")
	fs.StringVar(&f.cidFile, "cidfile", "", "Write the container ID to this file")
	fs.BoolVar(&f.autoRemove, "rm", false, "Remove the container and its anonymous volumes when it exits")
	fs.StringVar(&f.restart, "restart", "no", "When to restart the container after it exits")
	fs.BoolVar(&f.init, "init", false, "Run a small init that forwards signals and reaps processes")
	fs.StringVar(&f.runtime, "runtime", "", "OCI runtime for this container")
	fs.BoolVar(&f.useAPISocket, "use-api-socket", false, "Give the container the API socket and registry credentials")
}

func (f *Flags) registerResources(fs *pflag.FlagSet) {
	fs.Uint16Var(&f.blkioWeight, "blkio-weight", 0, "Relative block IO weight, 10 to 1000, or 0 for none")
	fs.Var(&f.blkioWeights, "blkio-weight-device", "Relative block IO weight for a device")
	fs.Var(f.readBps.bytes(), "device-read-bps", "Limit bytes per second read from a device")
	fs.Var(f.readIOps.counts(), "device-read-iops", "Limit read operations per second from a device")
	fs.Var(f.writeBps.bytes(), "device-write-bps", "Limit bytes per second written to a device")
	fs.Var(f.writeIOps.counts(), "device-write-iops", "Limit write operations per second to a device")
	fs.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "CPUs the container may run on (0-3, 0,1)")
	fs.StringVar(&f.cpusetMems, "cpuset-mems", "", "Memory nodes the container may use (0-3, 0,1)")
	fs.Int64Var(&f.cpuPeriod, "cpu-period", 0, "CFS period in microseconds")
	fs.Int64Var(&f.cpuQuota, "cpu-quota", 0, "CFS quota in microseconds per period")
	fs.Int64Var(&f.cpuRTPeriod, "cpu-rt-period", 0, "Real-time period in microseconds")
	fs.Int64Var(&f.cpuRTRuntime, "cpu-rt-runtime", 0, "Real-time runtime in microseconds")
	fs.Int64VarP(&f.cpuShares, "cpu-shares", "c", 0, "Relative CPU weight")
	fs.Var(&f.cpus, "cpus", "Number of CPUs")
	fs.Int64Var(&f.cpuCount, "cpu-count", 0, "CPU count (Windows only)")
	fs.Int64Var(&f.cpuPercent, "cpu-percent", 0, "CPU percent (Windows only)")
	fs.Var(&f.ioMaxBandwidth, "io-maxbandwidth", "IO bandwidth limit for the system drive (Windows only)")
	fs.Uint64Var(&f.ioMaxIOps, "io-maxiops", 0, "IOps limit for the system drive (Windows only)")
	fs.VarP(&f.memory, "memory", "m", "Memory limit")
	fs.Var(&f.memoryReservation, "memory-reservation", "Soft memory limit")
	fs.Var(&f.memorySwap, "memory-swap", "Limit of memory plus swap, -1 for unlimited swap")
	fs.Int64Var(&f.swappiness, "memory-swappiness", -1, "Memory swappiness, 0 to 100")
	fs.Var(&f.kernelMemory, "kernel-memory", "Kernel memory limit (deprecated, has no effect)")
	fs.BoolVar(&f.oomKillDisable, "oom-kill-disable", false, "Keep the OOM killer away from the container")
	fs.IntVar(&f.oomScoreAdj, "oom-score-adj", 0, "OOM preference of the container, -1000 to 1000")
	fs.Int64Var(&f.pidsLimit, "pids-limit", 0, "Limit of processes, -1 for none")
	fs.Var(&f.shmSize, "shm-size", "Size of /dev/shm")
	fs.Var(&f.ulimits, "ulimit", "Set a resource limit (name=soft[:hard])")
	fs.Var(&f.gpus, "gpus", "GPUs to add to the container ('all' for every one)")
}

func (f *Flags) registerIsolation(fs *pflag.FlagSet) {
	f.deviceRules.Check = checkDeviceRule
	f.sysctls.Check = checkSysctl
	fs.Var(&f.capAdd, "cap-add", "Add a Linux capability")
	fs.Var(&f.capDrop, "cap-drop", "Drop a Linux capability")
	fs.StringVar(&f.cgroupParent, "cgroup-parent", "", "Parent cgroup of the container")
	fs.StringVar(&f.cgroupns, "cgroupns", "", "Cgroup namespace (host|private)")
	fs.Var(&f.devices, "device", "Add a host device to the container")
	fs.Var(&f.deviceRules, "device-cgroup-rule", "Add a rule to the list of allowed devices")
	fs.StringVar(&f.ipc, "ipc", "", "IPC mode")
	fs.StringVar(&f.isolation, "isolation", "", "Isolation technology")
	fs.StringVar(&f.pid, "pid", "", "PID namespace")
	fs.BoolVar(&f.privileged, "privileged", false, "Give the container all privileges on the host")
	fs.BoolVar(&f.readOnly, "read-only", false, "Mount the root file system read-only")
	fs.Var(&f.securityOpts, "security-opt", "Security option")
	fs.Var(&f.sysctls, "sysctl", "Set a namespaced kernel parameter")
	fs.StringVar(&f.userns, "userns", "", "User namespace")
	fs.StringVar(&f.uts, "uts", "", "UTS namespace")
}

func (f *Flags) registerNetwork(fs *pflag.FlagSet) {
	f.dns.Check = checkIP
	f.dnsSearch.Check = checkDNSSearch
	f.extraHosts.Check = checkExtraHost
	f.links.Check = checkLink
	fs.Var(&f.extraHosts, "add-host", "Add a line to /etc/hosts (host:ip)")
	fs.Var(&f.dns, "dns", "DNS server")
	fs.Var(&f.dnsOptions, "dns-option", "DNS option")
	fs.Var(&f.dnsOptions, "dns-opt", "DNS option")
	hide(fs, "dns-opt", true)
	fs.Var(&f.dnsSearch, "dns-search", "DNS search domain")
	fs.StringVar(&f.domainname, "domainname", "", "NIS domain name")
	fs.Var(&f.expose, "expose", "Expose a port or a range of ports")
	fs.StringVarP(&f.hostname, "hostname", "h", "", "Host name")
	fs.StringVar(&f.ip, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	fs.StringVar(&f.ip6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	fs.Var(&f.links, "link", "Link to another container")
	fs.Var(&f.linkLocalIPs, "link-local-ip", "Link-local IPv4 or IPv6 address")
	fs.StringVar(&f.macAddress, "mac-address", "", "MAC address (e.g., 92:d0:c6:0a:29:33)")
	fs.VarP(&f.publish, "publish", "p", "Publish a port of the container on the host")
	fs.BoolVarP(&f.publishAll, "publish-all", "P", false, "Publish every exposed port on a random host port")
	fs.Var(&f.networks, "network", "Network to connect to")
	fs.Var(&f.networks, "net", "Network to connect to")
	fs.Var(&f.aliases, "network-alias", "Name of the container in the network")
	fs.Var(&f.aliases, "net-alias", "Name of the container in the network")
	hide(fs, "net", true)
	hide(fs, "net-alias", true)
}

func (f *Flags) registerStorage(fs *pflag.FlagSet) {
	fs.Var(&f.mounts, "mount", "Mount a file system")
	fs.Var(&f.storageOpts, "storage-opt", "Storage driver option")
	fs.Var(&f.tmpfs, "tmpfs", "Mount a tmpfs on a directory")
	fs.VarP(&f.volumes, "volume", "v", "Mount a volume or a host directory")
	fs.StringVar(&f.volumeDriver, "volume-driver", "", "Driver of named volumes that are created")
	fs.Var(&f.volumesFrom, "volumes-from", "Mount the volumes of another container")
}

func (f *Flags) registerHealthAndLogs(fs *pflag.FlagSet) {
	fs.StringVar(&f.healthCmd, "health-cmd", "", "Command that checks health")
	fs.DurationVar(&f.healthInterval, "health-interval", 0, "Time between checks (ms|s|m|h)")
	fs.IntVar(&f.healthRetries, "health-retries", 0, "Failures in a row that mean unhealthy")
	fs.DurationVar(&f.healthTimeout, "health-timeout", 0, "Time one check may take (ms|s|m|h)")
	fs.DurationVar(&f.healthStartPeriod, "health-start-period", 0, "Time to start up before failures count (ms|s|m|h)")
	fs.DurationVar(&f.healthStartInterval, "health-start-interval", 0, "Time between checks while starting up (ms|s|m|h)")
	fs.StringVar(&f.healthOnFailure, "health-on-failure", "", "What to do with an unhealthy container (none|kill|restart|stop)")
	fs.BoolVar(&f.noHealthcheck, "no-healthcheck", false, "Ignore the HEALTHCHECK of the image")
	fs.StringVar(&f.logDriver, "log-driver", "", "Logging driver")
	fs.Var(&f.logOpts, "log-opt", "Option of the logging driver")
}

// windowsFlags are understood but mean nothing to a Linux daemon.
func windowsFlags() []string {
	return []string{"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"}
}

func hide(fs *pflag.FlagSet, name string, hidden bool) { fs.Lookup(name).Hidden = hidden }
