package create

import (
	"fmt"
	"strings"
	"testing"
)

func show(list []Published) string {
	var parts []string
	for _, p := range list {
		ip := ""
		if p.Binding.HostIP.IsValid() {
			ip = p.Binding.HostIP.String()
		}
		parts = append(parts, fmt.Sprintf("%s|%s|%s", ip, p.Binding.HostPort, p.Port))
	}
	return strings.Join(parts, " ")
}

// TestParsePublish holds values with what Docker's CLI 28.2.2 made of them.
func TestParsePublish(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"80", "||80/tcp", ""},
		{"80:80", "|80|80/tcp", ""},
		{"80/udp", "||80/udp", ""},
		{"127.0.0.1:80:80", "127.0.0.1|80|80/tcp", ""},
		{"127.0.0.1::80", "127.0.0.1||80/tcp", ""},
		{"[::1]:80:80", "::1|80|80/tcp", ""},
		{"::1:80:80", "::1|80|80/tcp", ""},
		{"[::]:80:80", "::|80|80/tcp", ""},
		{"80-82", "||80/tcp ||81/tcp ||82/tcp", ""},
		{"80-81:90-91/udp", "|80|90/udp |81|91/udp", ""},
		{"8080-8090:80", "|8080-8090|80/tcp", ""},
		{"8080-8081:80-83", "", "invalid ranges specified for container and host Ports: 80-83 and 8080-8081"},
		{":80", "||80/tcp", ""},
		{"80:", "", "no port specified: 80:<empty>"},
		{"", "", "no port specified: <empty>"},
		{"0:80", "|0|80/tcp", ""},
		{"65535:65535", "|65535|65535/tcp", ""},
		{"65536:80", "", "invalid hostPort: 65536"},
		{"80:65536", "", "invalid containerPort: 65536"},
		{"80:80/foo", "", "invalid proto: foo"},
		{"80:80/SCTP", "|80|80/sctp", ""},
		{"localhost:80:80", "", "invalid IP address: localhost"},
		{"1.2.3.4:80", "", "invalid hostPort: 1.2.3.4"},
		{"[fe80::1%eth0]:80:80", "", "invalid IP address: fe80::1%eth0"},
		{"90-80", "", "invalid containerPort: 90-80"},
		{"published=80,target=81,protocol=udp,mode=host", "|80|81/udp", ""},
		{"target=80", "||80/tcp", ""},
		{"published=80-81,target=80", "|80-81|80/tcp", ""},
		{"published=80", "", "no port specified: 80:/tcp<empty>"},
		{" 80:80", "", "invalid hostPort:  80"},
	} {
		got, err := ParsePublish(c.in)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: error %v, want %q", c.in, err, c.err)
			}
			continue
		}
		if err != nil || show(got) != c.want {
			t.Errorf("%q: %q, %v; want %q", c.in, show(got), err, c.want)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "1.2.3.4:80-90:80-90/udp", "[::1]::80", "target=80,published=0-65535", "0-65535:0-65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParsePublish(in)
		if err != nil {
			return
		}
		if len(got) == 0 || len(got) > 65536 {
			t.Errorf("%q gives %d ports", in, len(got))
		}
		for _, p := range got {
			if !p.Port.IsValid() {
				t.Errorf("%q gives an invalid port", in)
			}
		}
	})
}
