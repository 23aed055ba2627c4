package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gantry-run/gantry/internal/errs"
)

// noEnvironment hides the settings of the machine that runs the tests.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_MIN_API_VERSION", "LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET"} {
		t.Setenv(name, "")
	}
}

// file writes a daemon.json and gives the arguments that name it.
func file(t *testing.T, content string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config-file", path}
}

func parse(t *testing.T, args ...string) Config {
	t.Helper()
	cfg, err := Parse(args)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	noEnvironment(t)
	cfg := parse(t, "--config-file=")
	if cfg.Hosts[0] != "unix:///run/gantry/gantry.sock" || cfg.PidFile != "/run/gantry/gantryd.pid" || cfg.DataRoot != "/var/lib/gantry" ||
		!cfg.ICC || !cfg.IPMasq || !cfg.IPForward || !cfg.UserlandProxy || cfg.MTU != 1500 || cfg.ShutdownTimeout != 15*time.Second ||
		cfg.DefaultShmSize != 64<<20 || cfg.LogDriver != "json-file" || cfg.SeccompProfile != "builtin" || cfg.TLS || len(cfg.Warnings) != 0 {
		t.Errorf("got %+v", cfg)
	}
}

func TestFlags(t *testing.T) {
	noEnvironment(t)
	cfg := parse(t, "--config-file=", "-H", "unix:///tmp/a.sock", "-H", "tcp://127.0.0.1", "-D", "-l", "warn", "--log-format", "json", "-G", "wheel",
		"--data-root", "/d", "--exec-root", "/e/", "-p", "/p.pid", "--bip", "10.9.0.1/24", "--fixed-cidr", "10.9.0.128/25", "--mtu", "1400",
		"--default-gateway", "10.9.0.254", "--icc=false", "--ip", "127.0.0.1", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
		"--dns", "10.0.0.1", "--dns", "10.0.0.2", "--dns-opt", "ndots:2", "--dns-search", "example.org", "--registry-mirror", "http://localhost:5000",
		"--insecure-registry", "reg:5000", "--insecure-registry", "10.0.0.0/8", "--max-concurrent-downloads", "1", "--max-concurrent-uploads", "2",
		"--max-download-attempts", "3", "--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "--label", "a=b",
		"--shutdown-timeout", "7", "--storage-driver", "overlay2", "--default-ulimit", "nofile=1:2", "--default-shm-size", "1g", "--init",
		"--seccomp-profile", "unconfined", "--no-new-privileges", "--cgroup-parent", "/g", "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--experimental", "--default-runtime", "runc", "--default-cgroupns-mode", "host", "--default-ipc-mode", "shareable", "--live-restore",
		"--iptables", "--selinux-enabled", "--feature", "containerd-snapshotter")
	want := withDefaults()
	want.ConfigFile, want.Hosts = "", []string{"unix:///tmp/a.sock", "tcp://127.0.0.1:2375"}
	want.Debug, want.LogLevel, want.LogFormat, want.Group = true, "warn", "json", "wheel"
	want.DataRoot, want.ExecRoot, want.PidFile = "/d", "/e", "/p.pid"
	want.BIP, want.FixedCIDR, want.MTU = netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("10.9.0.128/25"), 1400
	want.DefaultGateway, want.DefaultBindIP = netip.MustParseAddr("10.9.0.254"), netip.MustParseAddr("127.0.0.1")
	want.ICC, want.IPForward, want.IPMasq, want.UserlandProxy = false, false, false, false
	want.DNS = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	want.DNSOptions, want.DNSSearch = []string{"ndots:2"}, []string{"example.org"}
	want.RegistryMirrors, want.InsecureRegistries = []string{"http://localhost:5000/"}, []string{"reg:5000", "10.0.0.0/8"}
	want.MaxConcurrentDownloads, want.MaxConcurrentUploads, want.MaxDownloadAttempts = 1, 2, 3
	want.LogDriver, want.LogOpts, want.Labels = "local", map[string]string{"max-size": "1m", "max-file": "2"}, []string{"a=b"}
	want.ShutdownTimeout, want.StorageDriver, want.DefaultShmSize = 7*time.Second, "overlay2", 1<<30
	want.Init, want.SeccompProfile, want.NoNewPrivileges, want.SELinux, want.CgroupParent = true, "unconfined", true, true, "/g"
	want.ExecOpts = []string{"native.cgroupdriver=cgroupfs"}
	want.Experimental, want.CgroupnsMode, want.IpcMode = true, "host", "shareable"
	want.Features = map[string]bool{"containerd-snapshotter": true}
	if limit := cfg.DefaultUlimits["nofile"]; limit == nil || limit.Soft != 1 || limit.Hard != 2 {
		t.Errorf("ulimits: %v", cfg.DefaultUlimits)
	}
	want.DefaultUlimits = cfg.DefaultUlimits
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "tcp://127.0.0.1:2375: binding to an IP address without --tlsverify") {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
	want.Warnings = cfg.Warnings
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

func TestFile(t *testing.T) {
	noEnvironment(t)
	cfg := parse(t, append(file(t, "\ufeff"+`{
		"hosts": ["fd://", "unix:///x"], "debug": true, "icc": false, "mtu": 1300, "bip": "10.8.0.1/24", "ip": "127.0.0.1",
		"labels": ["a=b", "a=b"], "dns": ["1.1.1.1"], "log-opts": {"max-size": "5m"}, "default-shm-size": "128M",
		"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 32000}}, "shutdown-timeout": -1,
		"registry-mirrors": ["https://mirror.example"], "proxies": {"http-proxy": "http://p:1", "no-proxy": "x"},
		"features": {"containerd-snapshotter": true, "other": false}, "live-restore": true, "min-api-version": "1.24",
		"exec-opts": ["native.cgroupdriver=systemd"], "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}},
		"builder": {"gc": {"enabled": true}}, "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}], "userns-remap": "alice:staff"
	}`), "--add-runtime", "x=/x")...)
	if !slices.Equal(cfg.Hosts, []string{"fd://", "unix:///x"}) || !cfg.Debug || cfg.ICC || cfg.MTU != 1300 || cfg.BIP.String() != "10.8.0.1/24" ||
		cfg.DefaultBindIP.String() != "127.0.0.1" || !slices.Equal(cfg.Labels, []string{"a=b"}) || cfg.DNS[0].String() != "1.1.1.1" ||
		cfg.LogOpts["max-size"] != "5m" || cfg.DefaultShmSize != 128<<20 || cfg.DefaultUlimits["nofile"].Hard != 64000 || cfg.ShutdownTimeout != -time.Second ||
		cfg.RegistryMirrors[0] != "https://mirror.example/" || cfg.HTTPProxy != "http://p:1" || cfg.NoProxy != "x" || cfg.MinAPIVersion != "1.24" || !cfg.SystemdCgroup() || cfg.UsernsRemap != "alice:staff" {
		t.Errorf("got %+v", cfg)
	}
	for _, want := range []string{
		`option "builder" has no effect`, `option "default-address-pools" has no effect`, `option "runtimes" has no effect`,
		"feature other=false has no effect",
	} {
		if !slices.ContainsFunc(cfg.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning %q in %q", want, cfg.Warnings)
		}
	}
	if len(cfg.Warnings) != 4 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
}

func TestEmptyFiles(t *testing.T) {
	noEnvironment(t)
	for _, content := range []string{"", " \n", "{}", "null", "\ufeff{}"} {
		parse(t, file(t, content)...)
	}
}

func TestBadFiles(t *testing.T) {
	noEnvironment(t)
	for _, tt := range []struct {
		content, flags, want string
	}{
		{`{"foo": 1, "bar": 2, "debug": true}`, "", "the following directives don't match any configuration option: bar, foo"},
		{`{"Debug": true}`, "", "the following directives don't match any configuration option: Debug"},
		{`{"config-file": "x"}`, "", "the following directives don't match any configuration option: config-file"},
		{`{"label": ["a=b"]}`, "", "the following directives don't match any configuration option: label"},
		{`{"debug": true, "labels": ["a=b"]}`, "-D --label a=c --icc=false",
			"the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true), labels: (from flag: [a=c], from file: [a=b])"},
		{`{"hosts": ["fd://"]}`, "-H unix:///x", "hosts: (from flag: [unix:///x], from file: [fd://])"},
		{`{"proxies": {"http-proxy": "http://ann:secret@p"}}`, "--http-proxy http://bob:word@q", "http-proxy: (from flag: http://xxxxx:xxxxx@q, from file: http://xxxxx:xxxxx@p)"},
		{`{"debug": true,}`, "", "invalid JSON: invalid character '}'"},
		{`{"debug": true`, "", "invalid JSON: unexpected end of JSON input"},
		{`[]`, "", "invalid JSON: json: cannot unmarshal array"},
		{"\xff\xfe{\x00", "", "invalid JSON: the file is not UTF-8"},
		{`{"debug": "yes"}`, "", `invalid value for "debug": must be a bool`},
		{`{"mtu": "1"}`, "", `invalid value for "mtu": must be a int`},
		{`{"labels": "a=b"}`, "", `invalid value for "labels": must be a list of strings`},
		{`{"labels": ["a"]}`, "", "bad attribute format: a"},
		{`{"labels": ["a=1", "a=2"]}`, "", "conflict labels for a=2 and a=1"},
		{`{"log-opts": {"max-file": 3}}`, "", `invalid value for "log-opts": max-file`},
		{`{"log-opts": []}`, "", `invalid value for "log-opts": must be an object`},
		{`{"proxies": []}`, "", `invalid value for "proxies": must be an object`},
		{`{"bip": "10.0.0.1"}`, "", `invalid CIDR address: 10.0.0.1`},
		{`{"dns": ["x"]}`, "", "IP address is not correctly formatted: x"},
		{`{"default-shm-size": "x"}`, "", "invalid size"},
		{`{"default-shm-size": {}}`, "", "must be a bytes"},
		{`{"default-ulimits": {"nofile": null}}`, "", "nofile: must be an object"},
		{`{"default-ulimits": {"nofile": {"Soft": 2, "Hard": 1}}}`, "", "ulimit soft limit must be less than or equal to hard limit"},
		{`{"host-gateway-ip": "1.2.3.4", "host-gateway-ips": []}`, "", "host-gateway-ip and host-gateway-ips must not both be specified in the config file"},
	} {
		args := append(file(t, tt.content), strings.Fields(tt.flags)...)
		_, err := Parse(args)
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.content, err, tt.want)
		}
	}
	_, err := Parse([]string{"--config-file", "/nonexistent/daemon.json"})
	if err == nil || err.Error() != "unable to configure the Docker daemon with file /nonexistent/daemon.json: open /nonexistent/daemon.json: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestBadFlags(t *testing.T) {
	noEnvironment(t)
	for args, want := range map[string]string{
		"--nosuch":                "unknown flag: --nosuch\nSee 'gantryd --help'.",
		"run":                     `"gantryd" accepts no argument(s).`,
		"--mtu x":                 `invalid argument "x" for "--mtu" flag`,
		"-H foo://x":              `invalid argument "foo://x" for "-H, --host" flag: invalid bind address (foo://x): unsupported proto 'foo'`,
		"-H tcp://x:0":            "invalid port: 0",
		"-H tcp://x/path":         "should not contain a path element",
		"--exec-opt x=y":          "unknown option: 'x'",
		"--exec-opt x":            "must be formatted 'opt=value'",
		"--registry-mirror m:1":   "invalid mirror: no scheme specified",
		"--registry-mirror ftp:m": "invalid mirror: no scheme specified",
		"--default-ulimit nofile": "invalid ulimit argument",
		"--dns-search -x":         "-x is not a valid domain",
	} {
		_, err := Parse(append([]string{"--config-file="}, strings.Fields(args)...))
		if _, isFlag := errors.AsType[*FlagError](err); !isFlag || !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	for args, want := range map[string]string{
		"--log-level foo":               "invalid logging level: foo",
		"--log-format xml":              "invalid log format: xml",
		"--max-concurrent-downloads=-1": "invalid max concurrent downloads: -1",
		"--default-ipc-mode host":       `IPC mode "host" is not supported as default value; use "shareable" or "private"`,
		"--exec-opt native.cgroupdriver=systemd --cgroup-parent /g":     `cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`,
		"--exec-opt native.cgroupdriver=systemd --cgroup-parent .slice": `cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"`,
		"--default-cgroupns-mode x":                                     `invalid default cgroup namespace (x): use "host" or "private"`,
		"--bip 10.0.0.1/24 --bridge b":                                  "cannot specify both --bridge and --bip",
		"--bip fd00::1/64":                                              "invalid bip",
		"--data-root=":                                                  `option "data-root" must not be empty`,
		"--label a=1 --label a=2":                                       "conflict labels",
		"--label com.docker.x=1 --no-such-option":                       "reserved for internal use",
	} {
		_, err := Parse(append([]string{"--config-file="}, strings.Fields(args)...))
		if !errs.Is(err, errs.InvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}

// TestUnsupported: nothing that Gantry cannot do is accepted in silence.
func TestUnsupported(t *testing.T) {
	noEnvironment(t)
	for _, args := range []string{
		"--ipv6", "--iptables=false", "--firewall-backend iptables", "--metrics-addr :9323",
		"--authorization-plugin x", "--default-runtime crun", "--rootless", "--cpu-rt-period 1", "--host-gateway-ip 1.2.3.4",
		"--network-diagnostic-port 1", "--cri-containerd", "--bridge-accept-fwmark 1",
	} {
		_, err := Parse(append([]string{"--config-file="}, strings.Fields(args)...))
		if !errs.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "is not supported") {
			t.Errorf("%s: got %v", args, err)
		}
	}
	for _, content := range []string{`{"iptables": false}`, `{"authorization-plugins": ["x"]}`} {
		if _, err := Parse(file(t, content)); !errs.Is(err, errs.Unsupported) {
			t.Errorf("%s: got %v", content, err)
		}
	}
	for _, args := range []string{"--containerd /x", "--live-restore=false", "--init-path /x", "--userland-proxy-path /x", "--oom-score-adjust 1", "--feature x"} {
		if cfg := parse(t, append([]string{"--config-file="}, strings.Fields(args)...)...); len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "no effect") {
			t.Errorf("%s: warnings %q", args, cfg.Warnings)
		}
	}
	// Harmless values pass without a word.
	cfg := parse(t, "--config-file=", "--userns-remap=", "--iptables=1", "--firewall-backend=nftables", "--ip6tables=true", "--cpu-rt-period=0")
	if len(cfg.Warnings) != 0 {
		t.Errorf("warnings %q", cfg.Warnings)
	}
}

// TestTableIsSound: every option has a name, an explanation and a home.
func TestTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for i := range options {
		o := &options[i]
		cfg := Config{}
		before := reflect.ValueOf(o.value(&cfg)).Kind()
		if o.flag == "" && o.inFile() == "" || o.flag != "" && o.usage == "" || before == reflect.Invalid || seen["flag "+o.flag] && o.flag != "" || seen["key "+o.inFile()] && o.inFile() != "" {
			t.Errorf("bad option %+v", o)
		}
		seen["flag "+o.flag], seen["key "+o.inFile()] = true, true
	}
	if usage := Usage(); !strings.Contains(usage, "--data-root") || !strings.Contains(usage, `"/var/lib/gantry")`) {
		t.Errorf("usage: %s", usage)
	}
}

func TestActions(t *testing.T) {
	noEnvironment(t)
	for args, want := range map[string]Action{"--help": Help, "-h": Help, "-v": Version, "--version": Version, "--validate": Validate, "": Run} {
		if cfg := parse(t, append([]string{"--config-file="}, strings.Fields(args)...)...); cfg.Action != want {
			t.Errorf("%s: got %v", args, cfg.Action)
		}
	}
}

func TestHosts(t *testing.T) {
	noEnvironment(t)
	for args, want := range map[string][]string{
		"--exec-root /r":                       {"unix:///r/gantry.sock"},
		"-H unix:// --exec-root /r":            {"unix:///r/gantry.sock"},
		"--host=":                              {"unix:///run/gantry/gantry.sock"},
		"-H tcp://":                            {"tcp://localhost:2375"},
		"-H tcp:// --tlsverify":                {"tcp://localhost:2376"},
		"--tls":                                {"tcp://localhost:2376"},
		"-H :2375":                             {"tcp://localhost:2375"},
		"-H tcp://[::1]":                       {"tcp://[::1]:2375"},
		"-H 0.0.0.0:4000":                      {"tcp://0.0.0.0:4000"},
		"-H fd://3 -H fd://3 -H unix:///b.soc": {"fd://3", "unix:///b.soc"},
	} {
		if cfg := parse(t, append([]string{"--config-file="}, strings.Fields(args)...)...); !slices.Equal(cfg.Hosts, want) {
			t.Errorf("%s: got %q, want %q", args, cfg.Hosts, want)
		}
	}
}

func TestTLSRules(t *testing.T) {
	for _, tt := range []struct {
		args, env   string
		tls, verify bool
	}{
		{"", "", false, false},
		{"--tls", "", true, true},
		{"--tlsverify", "", true, true},
		{"--tlsverify=false", "", true, false},
		{"--tls --tlsverify=false", "", true, false},
		{"", "1", true, true},
		{"--tlsverify=false", "1", true, false},
	} {
		noEnvironment(t)
		t.Setenv("DOCKER_TLS_VERIFY", tt.env)
		t.Setenv("DOCKER_CERT_PATH", "/certs")
		cfg := parse(t, append([]string{"--config-file="}, strings.Fields(tt.args)...)...)
		if cfg.TLS != tt.tls || cfg.TLSVerify != tt.verify || tt.tls && cfg.TLSKey != "/certs/key.pem" {
			t.Errorf("%+v: got %v %v %s", tt, cfg.TLS, cfg.TLSVerify, cfg.TLSKey)
		}
	}
}

func TestReload(t *testing.T) {
	noEnvironment(t)
	args := append(file(t, `{"debug": false, "labels": ["a=b"], "mtu": 1400}`), "--exec-root", "/r")
	current := parse(t, args...)
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(args[1], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"debug": true, "labels": ["a=c"], "mtu": 1300, "registry-mirrors": ["https://m"], "shutdown-timeout": 1}`)
	next, changed, err := Reload(current, args)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(changed)
	if !slices.Equal(changed, []string{"Debug", "Labels"}) || !next.Debug || next.Labels[0] != "a=c" ||
		next.MTU != 1400 || next.ExecRoot != "/r" || current.Debug {
		t.Errorf("changed %q, got %+v", changed, next)
	}
	if len(next.Warnings) != 3 || !slices.Contains(next.Warnings, "the new value of MTU takes effect after a restart of the daemon") {
		t.Errorf("warnings %q", next.Warnings)
	}
	write(`{"debug": maybe}`)
	if same, changed, err := Reload(next, args); err == nil || changed != nil || !reflect.DeepEqual(same, next) {
		t.Errorf("a bad file changed %q to %+v, %v", changed, same, err)
	}
}

// FuzzMerge feeds any file: it is accepted or refused, and what is accepted
// gives the same configuration again.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"debug": true, "hosts": ["unix://"], "log-opts": {"a": "b"}}`))
	f.Add([]byte(`{"default-ulimits": {"nofile": {"Soft": 1, "Hard": 2}}, "default-shm-size": 1e9, "proxies": {"http-proxy": "x"}}`))
	f.Add([]byte(`{"runtimes": null, "builder": {}, "dns": ["::1"], "bip": "1.2.3.4/5", "mtu": -1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, twice := withDefaults(), withDefaults()
		err := newParser(&once).merge(data)
		again := newParser(&twice).merge(data)
		if (err == nil) != (again == nil) || err == nil && !reflect.DeepEqual(once, twice) {
			t.Fatalf("%q: %v, then %v", data, err, again)
		}
	})
}
