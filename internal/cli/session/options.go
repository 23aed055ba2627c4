package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/config"
)

// Where daemons listen by default. Gantry's own socket is preferred; Docker's
// is the fallback so that the CLI is of use with either.
const (
	GantrySocket = "/run/gantry/gantry.sock"
	DockerSocket = "/var/run/docker.sock"
)

// Options are the global flags.
type Options struct {
	ConfigDir              string
	Context                string
	Hosts                  []string
	Debug                  bool
	LogLevel               string
	TLS, TLSVerify         bool
	TLSCA, TLSCert, TLSKey string
	Version, Help          bool
	tlsSet                 bool
}

// Register declares the global flags on fs.
func (o *Options) Register(fs *pflag.FlagSet) {
	dir := config.DefaultDir()
	certs := os.Getenv("DOCKER_CERT_PATH")
	if certs == "" {
		certs = dir
	}
	fs.StringVar(&o.ConfigDir, "config", dir, "Directory of the client's configuration")
	fs.StringVarP(&o.Context, "context", "c", "", "Context that names the daemon (overrides DOCKER_HOST and the current context)")
	fs.BoolVarP(&o.Debug, "debug", "D", false, "Enable debug mode")
	fs.VarP(&hostList{o}, "host", "H", "Daemon socket to connect to")
	fs.StringVarP(&o.LogLevel, "log-level", "l", "info", `Logging level ("debug", "info", "warn", "error", "fatal")`)
	fs.BoolVar(&o.TLS, "tls", os.Getenv("DOCKER_TLS") != "", "Use TLS; --tlsverify implies it")
	fs.StringVar(&o.TLSCA, "tlscacert", filepath.Join(certs, "ca.pem"), "Trust only certificates signed by this CA")
	fs.StringVar(&o.TLSCert, "tlscert", filepath.Join(certs, "cert.pem"), "Path of the TLS certificate")
	fs.StringVar(&o.TLSKey, "tlskey", filepath.Join(certs, "key.pem"), "Path of the TLS key")
	fs.BoolVar(&o.TLSVerify, "tlsverify", os.Getenv("DOCKER_TLS_VERIFY") != "", "Use TLS and verify the daemon")
	fs.BoolVarP(&o.Version, "version", "v", false, "Print the version and quit")
}

type hostList struct{ o *Options }

func (h *hostList) String() string { return "" }
func (h *hostList) Type() string   { return "list" }
func (h *hostList) Set(v string) error {
	h.o.Hosts = append(h.o.Hosts, v)
	return nil
}

// Check validates the options after parsing.
func (o *Options) Check(fs *pflag.FlagSet) error {
	if !slices.Contains([]string{"debug", "info", "warn", "warning", "error", "fatal", "panic", "trace"}, strings.ToLower(o.LogLevel)) {
		//lint:ignore ST1005 Docker's text
		return fmt.Errorf("Unable to parse logging level: %s", o.LogLevel)
	}
	if len(o.Hosts) > 0 && fs.Changed("context") {
		return errors.New("conflicting options: cannot specify both --host and --context")
	}
	o.tlsSet = o.TLS || o.TLSVerify
	return nil
}

// ParseHost completes a host given by the user: a bare address means TCP and a
// bare path a unix socket.
func ParseHost(v string) (string, error) {
	v = strings.TrimSpace(v)
	proto, addr, ok := strings.Cut(v, "://")
	if !ok {
		switch {
		case v == "":
			return DefaultHost(), nil
		case strings.HasPrefix(v, "/"):
			return "unix://" + v, nil
		}
		proto, addr = "tcp", v
	}
	switch proto {
	case "tcp", "http", "https":
		return "tcp://" + completeTCP(addr), nil
	case "unix":
		if addr == "" {
			return DefaultHost(), nil
		}
		return v, nil
	case "ssh":
		return v, nil
	}
	return "", fmt.Errorf("invalid bind address format: %s", v)
}

func completeTCP(addr string) string {
	hostPort, path, _ := strings.Cut(addr, "/")
	if path != "" {
		path = "/" + path
	}
	if hostPort == "" {
		hostPort = "localhost"
	}
	if i := strings.LastIndexByte(hostPort, ':'); i < 0 || strings.HasSuffix(hostPort, "]") {
		hostPort += ":2375"
	} else if i == 0 {
		hostPort = "localhost" + hostPort
	}
	return hostPort + path
}

// DefaultHost is the local daemon: Gantry's socket, or Docker's if only that exists.
func DefaultHost() string {
	if _, err := os.Stat(GantrySocket); err == nil {
		return "unix://" + GantrySocket
	}
	if _, err := os.Stat(DockerSocket); err == nil {
		return "unix://" + DockerSocket
	}
	return "unix://" + GantrySocket
}

// Endpoint is a daemon to talk to.
type Endpoint struct {
	Host     string
	Context  string // its context's name
	TLS      bool
	Verify   bool
	CA, Cert string // files; "" if there is none
	Key      string
}

// Endpoint resolves the daemon in the order: --host, --context, GANTRY_HOST,
// DOCKER_HOST, DOCKER_CONTEXT, the configuration's current context, the
// default socket.
func (s *Session) Endpoint() (Endpoint, error) {
	ep, err := s.resolve()
	if err != nil {
		//lint:ignore ST1005 Docker's text
		return ep, fmt.Errorf("Failed to initialize: unable to resolve docker endpoint: %w", err)
	}
	return ep, nil
}

func (s *Session) resolve() (Endpoint, error) {
	o := &s.Opts
	switch len(o.Hosts) {
	case 0:
	case 1:
		host, err := ParseHost(o.Hosts[0])
		return o.endpoint(host), err
	default:
		//lint:ignore ST1005 Docker's text
		return Endpoint{}, errors.New("Specify only one -H")
	}
	if name := s.ContextName(); name != config.DefaultContext {
		c, err := config.LoadContext(o.ConfigDir, name)
		if err != nil {
			return Endpoint{}, err
		}
		ep := Endpoint{Host: c.Host, Context: name, TLS: c.TLSDir != "", Verify: !c.SkipVerify}
		if c.TLSDir != "" {
			ep.CA = existing(c.TLSDir, "ca.pem")
			ep.Cert = existing(c.TLSDir, "cert.pem")
			ep.Key = existing(c.TLSDir, "key.pem")
		}
		return ep, nil
	}
	for _, name := range []string{"GANTRY_HOST", "DOCKER_HOST"} {
		if v := os.Getenv(name); v != "" {
			host, err := ParseHost(v)
			if err != nil {
				return Endpoint{}, err
			}
			return o.endpoint(host), nil
		}
	}
	return o.endpoint(DefaultHost()), nil
}

// ContextName is the name of the context in use, "default" if none is chosen.
func (s *Session) ContextName() string {
	switch {
	case len(s.Opts.Hosts) > 0:
		return config.DefaultContext
	case s.Opts.Context != "":
		return s.Opts.Context
	case os.Getenv("GANTRY_HOST") != "" || os.Getenv("DOCKER_HOST") != "":
		return config.DefaultContext
	case os.Getenv("DOCKER_CONTEXT") != "":
		return os.Getenv("DOCKER_CONTEXT")
	}
	if name := s.Config().CurrentContext; name != "" {
		return name
	}
	return config.DefaultContext
}

func (o *Options) endpoint(host string) Endpoint {
	ep := Endpoint{Host: host, Context: config.DefaultContext, TLS: o.tlsSet, Verify: o.TLSVerify}
	if ep.TLS {
		ep.CA, ep.Cert, ep.Key = o.TLSCA, existing("", o.TLSCert), existing("", o.TLSKey)
		if !ep.Verify {
			ep.CA = existing("", o.TLSCA)
		}
	}
	return ep
}

func existing(dir, name string) string {
	p := filepath.Join(dir, name)
	if _, err := os.Stat(p); err != nil {
		return ""
	}
	return p
}

// HostChosen tells whether flag, environment or context name the daemon.
func (s *Session) HostChosen() bool {
	return len(s.Opts.Hosts) > 0 || os.Getenv("GANTRY_HOST") != "" || os.Getenv("DOCKER_HOST") != "" ||
		s.ContextName() != config.DefaultContext
}
