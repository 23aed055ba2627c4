package container

import (
	"errors"
	"net/netip"
	"testing"

	containertypes "github.com/moby/moby/api/types/container"

	"github.com/gantry-run/gantry/internal/cli/session"
)

func TestShowPorts(t *testing.T) {
	p := func(ip string, public, private uint16, proto string) containertypes.PortSummary {
		s := containertypes.PortSummary{PrivatePort: private, PublicPort: public, Type: proto}
		if ip != "" {
			s.IP = netip.MustParseAddr(ip)
		}
		return s
	}
	for want, ports := range map[string][]containertypes.PortSummary{
		"":               nil,
		"80/tcp":         {p("", 0, 80, "tcp")},
		"80-82/tcp":      {p("", 0, 82, "tcp"), p("", 0, 80, "tcp"), p("", 0, 81, "tcp")},
		"80/tcp, 80/udp": {p("", 0, 80, "udp"), p("", 0, 80, "tcp")},
		"0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp":  {p("0.0.0.0", 80, 80, "tcp"), p("::", 80, 80, "tcp"), p("0.0.0.0", 81, 81, "tcp"), p("::", 81, 81, "tcp")},
		"443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp": {p("0.0.0.0", 8080, 80, "tcp"), p("::", 8080, 80, "tcp"), p("", 0, 443, "tcp")},
	} {
		if got := showPorts(ports); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStartStatus(t *testing.T) {
	for text, want := range map[string]int{
		`exec: "x": executable file not found in $PATH`:  127,
		`exec: "/x": stat /x: no such file or directory`: 127,
		`exec: "/etc": permission denied`:                126,
		`exec: "/etc": is a directory`:                   126,
		"Conflict. The container name is in use":         125,
	} {
		if got := startStatus(errors.New(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := startStatus(&session.ConnectError{Host: "unix:///no such file or directory"}); got != 125 {
		t.Errorf("no daemon: %d", got)
	}
}
