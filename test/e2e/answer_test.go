package e2e

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gantry-run/gantry/internal/testenv"
)

const (
	badEndpoint = "invalid config for network bridge: invalid endpoint settings:\n"
	noSubnet    = "* user specified IP address is supported only when connecting to networks with user configured subnets"
)

// answers are commands of which people see the answer often: wrong input, mostly.
// NAME is a container that runs, GONE one that has ended with code 3, USERLESS
// one whose user does not exist, SHIM one whose runtime has containerd's name,
// PAUSED one with --rm that is paused. The expected texts are dockerd's 28.5.2;
// run the test against it with
// E2E_ENGINE=docker E2E_DOCKERD=$(scripts/dockerd).
var answers = []struct {
	args string
	code int
	want string // standard error, or standard output where the code is 0
}{
	{"create -m 1m busybox", 1, "Minimum memory limit allowed is 6MB"},
	{"create --memory-reservation 1m busybox", 1, "Minimum memory reservation allowed is 6MB"},
	{"create --memory-swap 10m busybox", 1, "You should always set the Memory limit when using Memoryswap limit, see usage"},
	{"create -m 100m --memory-swap 50m busybox", 1, "Minimum memoryswap limit should be larger than memory limit, see usage"},
	{"create -m 100m --memory-reservation 200m busybox", 1, "Minimum memory limit can not be less than memory reservation limit, see usage"},
	{"create --cpus 1 --cpu-period 1000 busybox", 1, "Conflicting options: Nano CPUs and CPU Period cannot both be set"},
	{"create --cpus 1 --cpu-quota 1000 busybox", 1, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
	{"create --cpuset-cpus abc busybox", 1, "Invalid value abc for cpuset cpus: invalid format: abc"},
	{"create --storage-opt size=1g busybox", 1, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"},
	{"create --storage-opt foo=1 busybox", 1, "Unknown option foo"},
	{"create --isolation foo busybox", 1, "invalid isolation (foo): linux only supports 'default'"},
	{"create --security-opt foo=bar busybox", 1, `invalid --security-opt 2: "foo=bar"`},
	{"create --restart foo busybox", 1, "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"},
	{"create --restart on-failure:-1 busybox", 1, "invalid restart policy: maximum retry count cannot be negative"},
	{"create --network container: busybox", 1, "invalid network mode: invalid container format container:<name|id>"},
	{"create --network container:NAME -p 80:80 busybox", 1, "conflicting options: port publishing and the container type network mode"},
	{"create --network container:NAME --hostname foo busybox", 1, "conflicting options: hostname and the network mode"},
	{"create --network container:NAME --dns 1.1.1.1 busybox", 1, "conflicting options: dns and the network mode"},
	{"create --network container:NAME --add-host a:1.1.1.1 busybox", 1, "conflicting options: custom host-to-IP mapping and the network mode"},
	{"create --network container:NAME --expose 80 busybox", 1, "conflicting options: port exposing and the container type network mode"},
	{"create --log-opt mode=foo busybox", 1, "logger: logging mode not supported: foo"},
	{"create --log-opt mode=blocking --log-opt max-buffer-size=1m busybox", 1, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
	{"create --mount type=foo,dst=/x busybox", 1, `invalid mount config for type "foo": mount type unknown`},
	{"create --mount type=image,dst=/x busybox", 1, `invalid mount config for type "image": field Source must not be empty`},
	{"create -v /tmp:/x:foo busybox", 1, "invalid mode: foo"},
	{"create -v /tmp:x busybox", 1, `invalid volume specification: '/tmp:x': invalid mount config for type "bind": invalid mount path: 'x' mount path must be absolute`},
	{"create -v /tmp:/ busybox", 1, `invalid volume specification: '/tmp:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`},
	{"create -v /usr:/x:shared,slave busybox", 1, "invalid mode: shared,slave"},
	{"create -v vol:/x:ro,rw busybox", 1, "invalid mode: ro,rw"},
	{"create -v /usr:/x:nocopy busybox", 1, `invalid volume specification: '/usr:/x:nocopy': invalid mount config for type "bind": field VolumeOptions must not be specified`},
	{"create -v vol:/x:rshared busybox", 1, `invalid volume specification: 'vol:/x:rshared': invalid mount config for type "volume": field BindOptions must not be specified`},
	{"create -v /x:ro busybox", 1, "invalid volume specification: '/x:ro'"},
	{"run --rm -v /usr:/x:rshared busybox", 125, "path /usr is mounted on / but it is not a shared mount"},
	{"run --rm -v /usr:/x:slave busybox", 125, "path /usr is mounted on / but it is not a shared or slave mount"},
	{"create --volumes-from NAME:rw,nocopy busybox", 1, "invalid mode: rw,nocopy"},
	{"run --rm --volumes-from NAME:ro,z busybox true", 0, ""},
	{"create --tmpfs / busybox", 1, "invalid specification: destination can't be '/'"},
	{"create --health-interval 1ns --health-cmd x busybox", 1, "Interval in Healthcheck cannot be less than 1ms"},
	{"create --annotation =a busybox", 1, "invalid Annotations: the empty string is not permitted as an annotation key"},
	{"create --runtime foo busybox", 1, "unknown or invalid runtime name: foo"},
	{"run --rm --runtime io.containerd.runc.v2 busybox echo x", 0, "x"},
	{"inspect -f {{.HostConfig.Runtime}} SHIM", 0, "io.containerd.runc.v2"},
	{"create --ip 1.2.3.4 busybox", 1, badEndpoint + "* user specified IP address is supported on user defined networks only\n* no configured subnet or ip-range contain the IP address 1.2.3.4"},
	{"create --ip 0.0.0.0 busybox", 1, badEndpoint + "* user specified IP address is supported on user defined networks only\n* invalid IPv4 address: 0.0.0.0\n* no configured subnet or ip-range contain the IP address 0.0.0.0"},
	{"create --ip6 fe80::1%x busybox", 1, badEndpoint + "* user specified IP address is supported on user defined networks only\n* invalid IPv6 address: fe80::1%x\n" + noSubnet},
	{"create --ip6 2001:db8::1 busybox", 1, badEndpoint + "* user specified IP address is supported on user defined networks only\n" + noSubnet},
	{"create --link-local-ip 0.0.0.0 busybox", 1, badEndpoint + "invalid link-local IP address: 0.0.0.0"},
	{"create --link nope busybox", 1, "could not get container for nope: No such container: nope"},
	{"ps --filter status=foo", 1, "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, restarting, removing, exited, dead"},
	{"ps --filter health=foo", 1, "invalid filter 'health=foo': invalid value for health (foo): must be one of none, starting, healthy, unhealthy"},
	{"ps --filter exited=x", 1, `invalid filter 'exited=x': strconv.Atoi: parsing "x": invalid syntax`},
	{"ps --filter is-task=x", 1, "invalid filter 'is-task=[x]'"},
	{"ps --filter publish=80-x", 1, `error while looking up for publish 80-x: strconv.ParseUint: parsing "x": invalid syntax`},
	{"ps -a --filter name=NAME[ -q", 0, ""},
	{"ps -a --filter name=NAME --filter isolation=default --format {{.Names}}", 0, "NAME"},
	{"inspect -s -f {{.RepoTags}} busybox", 0, "[busybox:latest]"},
	{"port NAME x", 1, `Error: invalid port (x): strconv.ParseUint: parsing "x": invalid syntax`},
	{"cp NAME:/etc/passwd /nope/nope/x", 1, `invalid output path: directory "/nope/nope" does not exist`},
	{"kill GONE", 1, "cannot kill container: GONE: container GONE-ID is not running"},
	{"kill -s FOO NAME", 1, "cannot kill container: NAME: invalid signal: FOO"},
	{"kill -s 99 NAME", 1, "cannot kill container: NAME: the linux daemon does not support signal 99"},
	{"stop -s FOO NAME", 1, "cannot stop container: NAME: invalid signal: FOO"},
	{"unpause NAME", 1, "Container NAME-ID is not paused"},
	{"exec GONE true", 1, "container GONE-ID is not running"},
	{"exec -u nobody-here NAME true", 1, "unable to find user nobody-here: no matching entries in passwd file"},
	{"exec -u 0:nobody-here NAME true", 1, "unable to find group nobody-here: no matching entries in group file"},
	{"exec -u 2147483648 NAME true", 1, "uids and gids must be in range 0-2147483647"},
	{"exec -d -w etc NAME true", 1, "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown"},
	{"exec -u 0:0:0 NAME id -u", 0, "0"},
	{"exec -u 1:2:x NAME id -g", 0, "2"},
	{"run --rm -u 1:2:3 busybox id -g", 0, "2"},
	{"run --rm --tmpfs /x:foo busybox true", 125, `invalid tmpfs option ["foo"]`},
	{"run --rm --tmpfs /x:size=1m,huge=never busybox true", 125, `invalid tmpfs option ["huge" "never"]`},
	{"run --rm --tmpfs /x:size busybox true", 125, `invalid tmpfs option ["size"]`},
	{"run --rm --tmpfs /x:size=1m,exec,noexec,defaults,shared,strictatime busybox grep -o /x.tmpfs.rw,nosuid,nodev,noexec,size=1024k /proc/mounts", 0, "/x tmpfs rw,nosuid,nodev,noexec,size=1024k"},
	{"run --rm -u nobody-here busybox", 125, "unable to find user nobody-here: no matching entries in passwd file"},
	{"run --rm -u -1 busybox", 125, "uids and gids must be in range 0-2147483647"},
	{"run --rm --group-add nobody-here busybox", 125, "Unable to find group nobody-here: no matching entries in group file"},
	{"run --rm --group-add -1 busybox", 125, "uids and gids must be in range 0-2147483647"},
	{"start USERLESS", 1, "unable to find user nobody-here: no matching entries in passwd file\nError: failed to start containers: USERLESS"},
	{"restart USERLESS", 1, "Cannot restart container USERLESS: unable to find user nobody-here: no matching entries in passwd file"},
	{"inspect -f {{.State.Status}}|{{.State.ExitCode}}|{{.State.Error}} USERLESS", 0, "created|128|unable to find user nobody-here: no matching entries in passwd file"},
	{"top NAME -o nope", 1, `ps: error: unknown user-defined format specifier "nope"`},
	{"cp NAME:/nope -", 1, "Could not find the file /nope in container NAME"},
	{"rename NAME GONE", 1, "Error when allocating new name: Conflict. The container name \"/GONE\" is already in use by container \"GONE-ID\". You have to remove (or rename) that container to be able to reuse that name.\nError: failed to rename container named NAME"},
	{"rename NAME x", 1, "Error when allocating new name: Invalid container name (/x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed\nError: failed to rename container named NAME"},
	{"restart -s FOO NAME", 1, "Cannot restart container NAME: invalid signal: FOO"},
	{"rm PAUSED", 1, `cannot remove container "PAUSED": container is paused and must be unpaused first`},
	{"update --restart always PAUSED", 1, "Cannot update container PAUSED-ID: Restart policy cannot be updated because AutoRemove is enabled for the container"},
	{"run --rm --device /dev/nope busybox", 127, `error gathering device information while adding custom device "/dev/nope": no such file or directory`},
	{"rm NAME", 1, `cannot remove container "NAME": container is running: stop the container before removing or force remove`},
	{"update --cpus 1 --cpu-quota 1000 NAME", 1, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
	{"update --cpuset-cpus abc NAME", 1, "Invalid value abc for cpuset cpus: invalid format: abc"},
	{"inspect -f {{.HostConfig.MemorySwappiness}}|{{.Config.Volumes}}|{{.HostConfig.OomKillDisable}} GONE", 0, "<nil>|map[]|false"},
	{"container prune -f --filter until=abc", 1, `failed to parse value as time or duration: "abc"`},
}

func TestAnswers(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if engineKind() == dockerEngine && os.Getenv("E2E_DOCKERD") == "" {
		t.Skip("needs a dockerd of today: E2E_DOCKERD names one")
	}
	t.Parallel()
	for _, cl := range world.clients {
		if cl.name == "docker20" {
			continue // words errors in its own way
		}
		t.Run(cl.name, func(t *testing.T) {
			t.Parallel()
			c := bind(t, cl, world.engine)
			name, gone := c.background(), c.container()
			c.fails(3, "run", "--name", gone, "busybox", "sh", "-c", "exit 3")
			userless := c.container()
			c.ok("create", "--name", userless, "-u", "nobody-here", "busybox")
			shim := c.container()
			c.ok("create", "--name", shim, "--runtime", "io.containerd.runc.v2", "busybox")
			paused := c.background("--rm")
			c.ok("pause", paused)
			id := func(name string) string { return c.ok("inspect", "-f", "{{.Id}}", name) }
			names := strings.NewReplacer("PAUSED-ID", id(paused), "PAUSED", paused, "GONE-ID", id(gone), "NAME-ID", id(name), "GONE", gone, "NAME", name, "USERLESS", userless, "SHIM", shim)
			for _, a := range answers {
				r := c.do(strings.Fields(names.Replace(a.args))...)
				got := strings.TrimPrefix(message(r.stderr), "Error response from daemon: ")
				if r.code == 0 {
					got = strings.TrimSpace(r.stdout)
				}
				if want := names.Replace(a.want); r.code != a.code || got != want {
					t.Errorf("%s: code %d, want %d\n got %s\nwant %s", a.args, r.code, a.code, got, want)
				}
			}
		})
	}
}

// TestMountsInProc: nothing but what lxcfs replaces is mounted over in /proc, and
// nothing but procfs on it.
func TestMountsInProc(t *testing.T) {
	each(t, func(t *testing.T, c *cli) {
		for _, to := range []string{"/proc/cpuinfo", "/proc/sys/kernel/ns_last_pid"} {
			c.ok("run", "--rm", "-v", "/etc/hosts:"+to, "busybox", "true")
		}
		c.ok("run", "--rm", "-v", "/proc:/proc", "busybox", "true")
		for _, to := range []string{"/proc/sys", "/proc/nowhere", "/proc/net/dev", "/proc/1/status"} {
			matches(t, to, c.fails(125, "run", "--rm", "-v", "/etc/hosts:"+to, "busybox", "true"), `"[^"]*/proc[^"]*" cannot be mounted because it is inside /proc: unknown`)
		}
		for _, from := range []string{"/etc/hosts", "/tmp"} {
			matches(t, from, c.fails(125, "run", "--rm", "-v", from+":/proc", "busybox", "true"), `"[^"]*/proc" cannot be mounted because it is not of type proc: unknown`)
		}
	})
}

// TestAnswersByAPI: what the clients do not show, or never ask for.
func TestAnswersByAPI(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if engineKind() == dockerEngine && os.Getenv("E2E_DOCKERD") == "" {
		t.Skip("needs a dockerd of today: E2E_DOCKERD names one")
	}
	t.Parallel()
	c := one(t, world.engine)
	name := c.background()
	for _, a := range []struct {
		path, body string
		status     int // 0: success
		want       string
	}{
		{"/containers/" + name + "/update", `{"CpuShares":512}`, 0, `{"Warnings":null}`},
		{"/commit", `{}`, 400, `{"message":"invalid name or ID supplied: \"\""}`},
	} {
		data, err := c.e.call(t.Context(), http.MethodPost, a.path, "application/json", strings.NewReader(a.body))
		status := 0
		if failed, ok := errors.AsType[*apiError](err); ok {
			status = failed.status
		} else if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(data)); status != a.status || got != a.want {
			t.Errorf("%s %s: %d %s, want %d %s", a.path, a.body, status, got, a.status, a.want)
		}
	}
}

// TestCreateByAPI: what the clients never send.
func TestCreateByAPI(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if engineKind() == dockerEngine && os.Getenv("E2E_DOCKERD") == "" {
		t.Skip("needs a dockerd of today: E2E_DOCKERD names one")
	}
	t.Parallel()
	c := one(t, world.engine)
	create := func(name, host string) error {
		_, err := c.e.call(t.Context(), http.MethodPost, "/containers/create?name="+name, "application/json", strings.NewReader(`{"Image":"busybox","HostConfig":{`+host+`}}`))
		return err
	}
	for _, host := range []string{``, `"PortBindings":null`} {
		name := c.container()
		if err := create(name, host); err != nil {
			t.Fatal(err)
		}
		equal(t, "ports with "+host, c.ok("inspect", "-f", "{{json .HostConfig.PortBindings}}", name), "null")
	}
	tmpfs := func(rest string) string { return `"Mounts":[{"Type":"tmpfs","Target":"/x",` + rest + `}]` }
	for host, want := range map[string]string{
		tmpfs(`"TmpfsOptions":{"Options":[["foo"]]}`):                     "invalid option: foo",
		tmpfs(`"TmpfsOptions":{"Options":[["exec"],["noexec","b","c"]]}`): "invalid option array length",
	} {
		if err := create(c.container(), host); err == nil || !strings.Contains(err.Error(), `invalid mount config for type \"tmpfs\": `+want) {
			t.Errorf("%s: %v", host, err)
		}
	}
}
