package oci

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/testenv"
)

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// newDevice makes a device in our network namespace, which never comes up there.
func newDevice(t *testing.T, n int) string {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.File("/sbin/ip"))
	name := fmt.Sprintf("gt%d.%d", os.Getpid()%1000000, n)
	ip(t, "link", "add", name, "type", "veth", "peer", "name", name+"p")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name+"p").Run() }) // it may have gone with its peer
	ip(t, "link", "set", name, "mtu", "1400", "address", "02:00:00:00:00:01")
	return name
}

// devices prints the names of the devices, and what there is to know of one.
const devices = `ls /sys/class/net; busybox ip addr show dev $0`

func TestNetDevices(t *testing.T) {
	r := newRuntime(t)
	for birth, edit := range map[string]func(*testing.T, *specs.Spec, string){
		"thread":         func(*testing.T, *specs.Spec, string) {},
		"process":        func(_ *testing.T, s *specs.Spec, _ string) { withHook(s) },
		"user namespace": func(t *testing.T, s *specs.Spec, bundle string) { mapped(t, bundle)(s) },
	} {
		t.Run(birth, func(t *testing.T) {
			name, bundle := newDevice(t, 0), newBundle(t)
			for _, address := range []string{"192.0.2.7/24", "192.0.2.8/25", "2001:db8::7/64"} {
				ip(t, "addr", "add", address, "dev", name)
			}
			ip(t, "addr", "add", "192.0.2.9/32", "dev", name, "scope", "link")                               // not global
			ip(t, "addr", "add", "192.0.2.10/32", "dev", name, "valid_lft", "1000", "preferred_lft", "1000") // not permanent
			spec := newSpec("sh", "-c", devices, "eth7")
			spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "eth7"}}
			edit(t, spec, bundle)
			res, err := runSpec(t, r, CreateOptions{Bundle: bundle, Spec: spec})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"eth7\nlo\n", "inet 192.0.2.7/24 ", "inet 192.0.2.8/25 ", "inet6 2001:db8::7/64 ", ",UP", "mtu 1400", "02:00:00:00:00:01"} {
				if !strings.Contains(res.out, want) {
					t.Errorf("%q is missing in %q %q", want, res.out, res.err)
				}
			}
			if strings.Contains(res.out, "192.0.2.9") || strings.Contains(res.out, "192.0.2.10") {
				t.Errorf("got %q", res.out)
			}
		})
	}
}

// TestNetDeviceNames keeps a name, lets the kernel number, and refuses one that is taken.
func TestNetDeviceNames(t *testing.T) {
	r := newRuntime(t)
	try := func(d map[string]specs.LinuxNetDevice, edit func(*specs.Spec)) (string, error) {
		spec := newSpec("sh", "-c", "echo $(ls /sys/class/net)")
		spec.Linux.NetDevices = d
		edit(spec)
		res, err := runSpec(t, r, CreateOptions{Bundle: newBundle(t), Spec: spec})
		return res.out, err
	}
	plain := func(*specs.Spec) {}
	first, second := newDevice(t, 1), newDevice(t, 2)
	if out, err := try(map[string]specs.LinuxNetDevice{first: {}, second: {Name: "net%d"}}, plain); err != nil || out != first+" lo net0\n" {
		t.Errorf("got %q, %v", out, err)
	}
	first, second = newDevice(t, 3), newDevice(t, 4)
	if out, err := try(map[string]specs.LinuxNetDevice{first: {Name: "x%d"}, second: {Name: "x%d"}}, plain); err != nil || out != "lo x0 x1\n" {
		t.Errorf("got %q, %v", out, err)
	}
	name := newDevice(t, 5)
	for text, tc := range map[string]struct {
		devices map[string]specs.LinuxNetDevice
		edit    func(*specs.Spec)
		kind    errs.Kind
	}{
		"the container has a device called lo already": {map[string]specs.LinuxNetDevice{name: {Name: "lo"}}, plain, errs.Conflict},
		"move network device gtnone: no such device":   {map[string]specs.LinuxNetDevice{"gtnone": {}}, plain, errs.NotFound},
		"move network device gtzzz: no such device":    {map[string]specs.LinuxNetDevice{name: {}, "gtzzz": {}}, plain, errs.NotFound},
		"without a private network namespace": {map[string]specs.LinuxNetDevice{name: {}}, func(s *specs.Spec) {
			s.Linux.Namespaces = without(s, specs.NetworkNamespace)
		}, errs.InvalidArgument},
		"is not a valid name":   {map[string]specs.LinuxNetDevice{name: {Name: "a/b"}}, plain, errs.InvalidArgument},
		"two devices would be":  {map[string]specs.LinuxNetDevice{name: {Name: "a"}, "b": {Name: "a"}}, plain, errs.InvalidArgument},
		`cannot be called "%s"`: {map[string]specs.LinuxNetDevice{name: {Name: "%s"}}, plain, errs.InvalidArgument},
	} {
		if _, err := try(tc.devices, tc.edit); err == nil || !strings.Contains(err.Error(), text) || !errs.Is(err, tc.kind) {
			t.Errorf("%s: got %v", text, err)
		}
		if _, err := os.Stat("/sys/class/net/" + name); err != nil {
			t.Errorf("%s: the device is gone: %v", text, err)
		}
	}
}
