package oci

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

// joining makes a spec's namespaces of the given kinds those of a container.
func joining(s *specs.Spec, c *Container, kinds ...specs.LinuxNamespaceType) {
	files := map[specs.LinuxNamespaceType]string{"network": "net"}
	for _, kind := range kinds {
		s.Linux.Namespaces = append(without(s, kind), specs.LinuxNamespace{Type: kind})
		file := files[kind]
		if file == "" {
			file = string(kind)
		}
		s.Linux.Namespaces[len(s.Linux.Namespaces)-1].Path = fmt.Sprintf("/proc/%d/ns/%s", c.Pid(), file)
	}
}

// links prints a process's namespaces.
const links = `for n in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$n; done`

// shared tells which namespaces of two lists are the same.
func shared(a, b string) string {
	var same []string
	other := strings.Fields(b)
	for _, link := range strings.Fields(a) {
		for _, o := range other {
			if o == link {
				same = append(same, link[:strings.IndexByte(link, ':')])
			}
		}
	}
	return strings.Join(same, " ")
}

// TestJoinUserNamespace starts containers in the user namespace of another, as the
// containers of a Kubernetes pod are.
func TestJoinUserNamespace(t *testing.T) {
	bundle := newBundle(t)
	edit := mapped(t, bundle)
	r := newRuntime(t)
	first := newSpec("sleep", "1000")
	edit(first)
	pod := startOf(t, r, CreateOptions{Bundle: bundle, Spec: first})
	theirs, err := execIn(t, pod, newProcess("sh", "-c", links))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		kinds []specs.LinuxNamespaceType
		want  string
	}{
		"own the rest": {[]specs.LinuxNamespaceType{"user"}, "time user"},
		"pod":          {[]specs.LinuxNamespaceType{"user", "network", "ipc", "uts"}, "ipc net time user uts"},
		"with PIDs":    {[]specs.LinuxNamespaceType{"user", "network", "ipc", "uts", "pid"}, "ipc net pid time user uts"},
	} {
		t.Run(name, func(t *testing.T) {
			id := testenv.Unique("j")
			spec := newSpec("sh", "-c", `id -u; cat /proc/self/uid_map; `+links+`; hostname >&2; touch /tmp/x; stat -c %u /tmp/x >&2
				mount -t tmpfs none /tmp 2>/dev/null || echo no mount >&2; touch /tmp/`+id+`; sleep 1000`)
			if strings.Contains(tc.want, "uts") {
				spec.Hostname = ""
			}
			joining(spec, pod, tc.kinds...)
			s := newStreams(t, "")
			c, p, err := r.Run(t.Context(), id, CreateOptions{Bundle: bundle, Spec: spec, IO: s.io})
			s.handed()
			if err != nil {
				t.Fatal(err)
			}
			res, err := execIn(t, c, newProcess("sh", "-c", "until test -e /tmp/"+id+"; do sleep 0.01; done; id -u; "+links))
			if err != nil {
				t.Error(err)
			}
			if err := c.Delete(t.Context(), true); err != nil {
				t.Error(err)
			}
			wait(t, p)
			s.done()
			out := s.out.String()
			lines := strings.SplitN(out, "\n", 3)
			if lines[0] != "0" || strings.Join(strings.Fields(lines[1]), " ") != "0 200000 65536" || shared(lines[2], theirs.out) != tc.want {
				t.Errorf("got %q; shared %q, want %q", out, shared(lines[2], theirs.out), tc.want)
			}
			if s.err.String() != "testhost\n0\nno mount\n" {
				t.Errorf("got %q", s.err.String())
			}
			if res.out != "0\n"+lines[2] {
				t.Errorf("exec: got %q, want %q", res.out, lines[2])
			}
		})
	}
	t.Run("mappings", func(t *testing.T) {
		spec := newSpec("true")
		joining(spec, pod, "user")
		spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 200000, Size: 65536}}
		spec.Linux.GIDMappings = spec.Linux.UIDMappings
		if res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err != nil || res.code != 0 {
			t.Errorf("the same: got %+v, %v", res, err)
		}
		spec.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: 300000, Size: 65536}}
		_, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
		if err == nil || err.Error() != "the user namespace to join has the gid_map [{0 200000 65536}], not [{0 300000 65536}]" || !errs.Is(err, errs.InvalidArgument) {
			t.Errorf("others: got %v", err)
		}
	})
}

func TestJoinTimeNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.File("/proc/self/timens_offsets"))
	r := newRuntime(t)
	first := newSpec("sleep", "1000")
	first.Linux.Namespaces = append(first.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	first.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000000}}
	pod := startOf(t, r, CreateOptions{Bundle: newBundle(t), Spec: first})
	theirs, err := execIn(t, pod, newProcess("sh", "-c", links))
	if err != nil {
		t.Fatal(err)
	}
	bundle := newBundle(t)
	spec := newSpec("sleep", "1000")
	joining(spec, pod, "time", "pid")
	c := startOf(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	res, err := execIn(t, c, newProcess("sh", "-c", "cat /proc/uptime >&2; "+links))
	if err != nil || !strings.HasPrefix(res.err, "1000") || shared(res.out, theirs.out) != "pid time user" {
		t.Errorf("exec: got %+v, %v", res, err)
	}
	spec = newSpec("cat", "/proc/uptime")
	joining(spec, pod, "time")
	res, err = runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
	if err != nil || !strings.HasPrefix(res.out, "1000") {
		t.Errorf("run: got %+v, %v", res, err)
	}
	spec.Linux.TimeOffsets = first.Linux.TimeOffsets
	if _, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err == nil || err.Error() != "time namespace offsets specified, but the time namespace is another's" {
		t.Errorf("offsets of another's namespace: got %v", err)
	}
}

var userAndTime = testenv.Linux(6, 3, "a new time namespace in a new user namespace")

// TestUserAndTime gets a time namespace that has an effect, or hears that there is none.
func TestUserAndTime(t *testing.T) {
	bundle := newBundle(t)
	spec := newSpec("cat", "/proc/uptime")
	mapped(t, bundle)(spec)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000000}}
	res, err := runSpec(t, newRuntime(t), CreateOptions{Bundle: bundle, Spec: spec})
	if testenv.Has(userAndTime) {
		if err != nil || !strings.HasPrefix(res.out, "1000") {
			t.Errorf("got %+v, %v", res, err)
		}
	} else if !errs.Is(err, errs.Unsupported) || !strings.Contains(err.Error(), "needs Linux 6.3") {
		t.Errorf("got %+v, %v", res, err)
	}
}

// TestJoinUserAndTime joins both, with namespaces of the container's own beside them.
func TestJoinUserAndTime(t *testing.T) {
	bundle := newBundle(t)
	edit := mapped(t, bundle)
	r := newRuntime(t)
	testenv.Need(t, userAndTime)
	first := newSpec("sleep", "1000")
	edit(first)
	first.Linux.Namespaces = append(first.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	first.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000000}}
	pod := startOf(t, r, CreateOptions{Bundle: bundle, Spec: first})
	for _, kinds := range [][]specs.LinuxNamespaceType{{"user", "time"}, {"user"}} {
		spec := newSpec("cat", "/proc/uptime")
		joining(spec, pod, kinds...)
		if len(kinds) == 1 { // a time namespace of its own, with other offsets
			spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000000}}
		}
		res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
		if err != nil || !strings.HasPrefix(res.out, "1000") {
			t.Errorf("%v: got %+v, %v", kinds, res, err)
		}
	}
	spec := newSpec("true")
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/self/ns/net"})
	if _, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec}); err == nil || err.Error() != "/proc/self/ns/net is not a user namespace" {
		t.Errorf("another kind: got %v", err)
	}
}
