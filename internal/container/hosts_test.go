package container

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
)

// TestHostsFileGrown: a container makes its /etc/hosts as large as the file system
// lets it. Neither who joins its network nor who links to another reads all of that.
func TestHostsFileGrown(t *testing.T) {
	s, c := newService(t, &fakeSupervisor{}, func(r *record) { r.State.Status = container.StateRunning })
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		if err := os.WriteFile(s.store.file(c.rec.ID, name), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	joining := &record{ID: newID(), Config: &container.Config{}, Host: &container.HostConfig{NetworkMode: "container:x"}}
	if err := s.store.create(joining.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.borrowNetworkFiles(joining, "x"); err != nil {
		t.Errorf("join: %v", err)
	}
	hosts := s.store.file(c.rec.ID, "hosts")
	if err := os.Truncate(hosts, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := s.borrowNetworkFiles(joining, "x"); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "share hosts of container "+c.rec.ID) {
		t.Errorf("join: %v", err)
	}
	l := &linked{link: link{Alias: "db"}, target: record{Name: "db", Config: &container.Config{Hostname: "db"}}}
	if err := editHosts(hosts, l.Alias, l.hosts()); !errs.Is(err, errs.Conflict) {
		t.Errorf("update link: %v", err)
	}
}

// TestLinkDoesNotGrowHostsFile: short lines that a container wrote must not become
// long ones without end.
func TestLinkDoesNotGrowHostsFile(t *testing.T) {
	file := t.TempDir() + "/hosts"
	if err := os.WriteFile(file, []byte(strings.Repeat("0 db\n", maxNetworkFile/5)), 0o644); err != nil {
		t.Fatal(err)
	}
	l := &linked{link: link{Alias: "db"}, target: record{
		Name: strings.Repeat("n", 100), Config: &container.Config{Hostname: "db"},
		Endpoints: map[string]*network.EndpointSettings{network.NetworkBridge: {IPAddress: netip.MustParseAddr("172.17.0.2")}},
	}}
	if err := editHosts(file, l.Alias, l.hosts()); !errs.Is(err, errs.Conflict) {
		t.Errorf("update link: %v", err)
	}
}

func TestHostsOrderAndNames(t *testing.T) {
	r := &record{
		Config: &container.Config{Domainname: "example.org"},
		Host:   &container.HostConfig{ExtraHosts: []string{"a:1.1.1.1", "b=[::1]", "h:host-gateway"}},
	}
	sb := &engine.Sandbox{Endpoints: map[string]*network.EndpointSettings{"bridge": {IPAddress: netip.MustParseAddr("172.17.0.5")}}}
	host := netip.MustParseAddr("172.17.0.1")
	const extra = "1.1.1.1\ta\n::1\tb\n172.17.0.1\th\n"
	for want, got := range map[string]string{
		extra + "9\tlink\n172.17.0.5\tweb.example.org web\n": hosts(r, "web", "9\tlink\n", sb, host),
		extra:                  hosts(r, "web", "", nil, host),
		"1.1.1.1\ta\n::1\tb\n": hosts(r, "web", "", nil, netip.Addr{}),
	} {
		if got = strings.TrimPrefix(got, hostLoopbackHosts); got != want {
			t.Errorf("hosts:\n got %q\nwant %q", got, want)
		}
	}
	for names, want := range map[[2]string]string{
		{"web", ""}: "web", {"web.a.b", ""}: "web.a.b web", {"web.a", "b"}: "web.a.b web",
	} {
		if got := ownNames(names[0], names[1]); got != want {
			t.Errorf("names of %v: %q, want %q", names, got, want)
		}
	}
}
