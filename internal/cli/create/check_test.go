package create

import (
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(string) (string, error)
		in    string
		want  string // "" is refused
	}{
		{"stream", checkStream, "STDIN", "stdin"}, {"stream", checkStream, "foo", ""},
		{"ip", checkIP, " 1.2.3.4", "1.2.3.4"}, {"ip", checkIP, "::1", "::1"}, {"ip", checkIP, "1.2.3", ""},
		{"search", checkDNSSearch, ".", "."}, {"search", checkDNSSearch, "a.b.", "a.b"}, {"search", checkDNSSearch, "foo_bar", "foo_bar"},
		{"search", checkDNSSearch, "-a", ""}, {"search", checkDNSSearch, "1.2", ""}, {"search", checkDNSSearch, "a..b", ""}, {"search", checkDNSSearch, "", ""},
		{"host", checkExtraHost, "a:1.2.3.4", "a:1.2.3.4"}, {"host", checkExtraHost, "a=::1", "a:::1"}, {"host", checkExtraHost, "a:[::1]", "a:::1"},
		{"host", checkExtraHost, "a:host-gateway", "a:host-gateway"}, {"host", checkExtraHost, "a", ""}, {"host", checkExtraHost, "a:", ""},
		{"link", checkLink, "a:b", "a:b"}, {"link", checkLink, "a:b:c", ""},
		{"rule", checkDeviceRule, "c 1:3 mr", "c 1:3 mr"}, {"rule", checkDeviceRule, "a *:* rwm", "a *:* rwm"}, {"rule", checkDeviceRule, "c 1:3", ""},
	} {
		got, err := c.check(c.in)
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%s %q: %q, %v; want %q", c.name, c.in, got, err, c.want)
		}
	}
	for in, ok := range map[string]bool{"net.a=1": true, "fs.mqueue.x=1": true, "kernel.sem=1": true, "kernel.panic=1": false, "net.a": false} {
		if err := checkSysctl(in); (err == nil) != ok {
			t.Errorf("sysctl %q: %v", in, err)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for in, want := range map[string]container.DeviceMapping{
		"/dev/a":           {PathOnHost: "/dev/a", PathInContainer: "/dev/a", CgroupPermissions: "rwm"},
		"/dev/a:r":         {PathOnHost: "/dev/a", PathInContainer: "/dev/a", CgroupPermissions: "r"},
		"/dev/a:/dev/b":    {PathOnHost: "/dev/a", PathInContainer: "/dev/b", CgroupPermissions: "rwm"},
		"/dev/a:/dev/b:rm": {PathOnHost: "/dev/a", PathInContainer: "/dev/b", CgroupPermissions: "rm"},
		"/dev/a:/dev/b:rr": {},
		"/dev/a:zzz":       {},
		"/a:/b:r:w":        {},
	} {
		got, err := parseDevice(in)
		if want.PathOnHost == "" {
			if err == nil {
				t.Errorf("%q is accepted: %+v", in, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for in, want := range map[string]bool{"vendor.com/gpu=all": true, "a/b=c": true, "/dev/a": false, "a/b=": false, "a=b": false, "/x/y=z": false} {
		if got := isCDI(in); got != want {
			t.Errorf("isCDI(%q) = %v", in, got)
		}
	}
}

func TestParseRestart(t *testing.T) {
	for in, want := range map[string]container.RestartPolicy{
		"":             {},
		"always":       {Name: "always"},
		"on-failure:3": {Name: "on-failure", MaximumRetryCount: 3},
	} {
		if got, err := ParseRestart(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{":3", "always:x"} {
		if _, err := ParseRestart(in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}
