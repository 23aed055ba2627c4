package config

import (
	"net/netip"
	"time"

	"github.com/docker/go-units"
)

// Defaults. Where Docker has the same setting, its value.
const (
	DefaultConfigFile = "/etc/gantry/daemon.json"
	DefaultDataRoot   = "/var/lib/gantry"
	DefaultExecRoot   = "/run/gantry"

	defaultMTU             = 1500
	defaultUploads         = 5
	defaultAttempts        = 5
	defaultShutdownTimeout = 15       // seconds
	defaultStopTimeout     = 10       // seconds
	defaultShmSize         = 64 << 20 // bytes

	// defaultDownloads differs from Docker's 3: registries serve more, and
	// small layers are bound by latency.
	defaultDownloads = 6
)

// Action is what the command line asks for.
type Action int

// The actions.
const (
	Run      Action = iota // serve
	Help                   // print Usage and exit with 0
	Version                // print the version and exit with 0
	Validate               // the configuration is fine: say so and exit with 0
)

// Config are the daemon's settings. It is made by Parse and not changed
// afterwards; Reload makes a new one.
type Config struct {
	Action     Action
	ConfigFile string // the file that was looked for, read or not
	// Warnings are for the log: settings that have no effect, and insecure ones.
	Warnings []string

	Hosts     []string // addresses to listen on: unix://PATH, tcp://HOST:PORT, fd://…
	Group     string   // group that may use unix sockets; "": docker or gantry, whichever exists
	TLS       bool     // TLS on tcp:// listeners
	TLSVerify bool     // demand a client certificate that TLSCACert has signed
	TLSCACert string   // PEM files
	TLSCert   string
	TLSKey    string

	DataRoot        string // durable state
	ExecRoot        string // state of this boot
	PidFile         string
	Debug           bool
	LogLevel        string // debug, info, warn, error, …
	LogFormat       string // text or json
	Experimental    bool
	Labels          []string // key=value
	Features        map[string]bool
	MinAPIVersion   string        // "": the API's own default
	ShutdownTimeout time.Duration // for containers, when the daemon ends; negative: no limit

	Bridge         string       // name of the default network's bridge, "none" for no such network; "": gantry's own
	BIP            netip.Prefix // its address and subnet
	FixedCIDR      netip.Prefix
	MTU            int
	DefaultGateway netip.Addr
	ICC            bool
	IPForward      bool
	IPMasq         bool
	DefaultBindIP  netip.Addr // where ports are published that name no address
	UserlandProxy  bool
	DNS            []netip.Addr
	DNSOptions     []string
	DNSSearch      []string

	CDISpecDirs            []string // empty: the standard ones
	RegistryMirrors        []string // URLs ending in a slash
	InsecureRegistries     []string // hosts and CIDRs
	MaxConcurrentDownloads int
	MaxConcurrentUploads   int
	MaxDownloadAttempts    int
	HTTPProxy              string
	HTTPSProxy             string
	NoProxy                string

	StorageDriver      string   // "": the best that works
	StorageOpts        []string // "DRIVER.OPTION=VALUE"
	LogDriver          string   // of containers that name none
	LogOpts            map[string]string
	DefaultUlimits     map[string]*units.Ulimit
	DefaultShmSize     int64         // bytes
	DefaultStopTimeout time.Duration // of containers that have none of their own
	Init               bool
	SeccompProfile     string // "builtin", "unconfined" or a path
	NoNewPrivileges    bool
	SELinux            bool // containers have SELinux contexts
	CgroupParent       string
	ExecOpts           []string // "option=value"; see SystemdCgroup
	CgroupnsMode       string   // host or private; "": private on cgroup v2, host on v1, as Docker
	IpcMode            string   // private or shareable
	UsernsRemap        string   // whose subordinate ids containers get, see package subid; "": none
}

// withDefaults is a Config without any flag or file.
func withDefaults() Config {
	return Config{
		ConfigFile: DefaultConfigFile,
		DataRoot:   DefaultDataRoot, ExecRoot: DefaultExecRoot,
		LogLevel: "info", LogFormat: "text",
		Features:        map[string]bool{},
		ShutdownTimeout: defaultShutdownTimeout * time.Second,
		MTU:             defaultMTU, ICC: true, IPForward: true, IPMasq: true, UserlandProxy: true,
		DefaultBindIP:          netip.IPv4Unspecified(),
		MaxConcurrentDownloads: defaultDownloads, MaxConcurrentUploads: defaultUploads, MaxDownloadAttempts: defaultAttempts,
		LogDriver: "json-file", LogOpts: map[string]string{},
		DefaultUlimits: map[string]*units.Ulimit{}, DefaultShmSize: defaultShmSize,
		DefaultStopTimeout: defaultStopTimeout * time.Second,
		SeccompProfile:     "builtin", IpcMode: "private",
	}
}
