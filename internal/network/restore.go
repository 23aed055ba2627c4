package network

import (
	"context"
	"errors"
	"fmt"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
)

// Restore makes the kernel's state and ours agree with the containers that
// live. It may be called again at any time.
func (s *Service) Restore(ctx context.Context, live []engine.LiveSandbox) error {
	s.restoring.Lock()
	defer s.restoring.Unlock()
	if s.net == nil {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	known, err := s.forgetDead(live)
	if err != nil {
		return err
	}
	found := map[string][]*reservation{}
	for _, l := range live {
		if err := ctx.Err(); err != nil {
			return err
		}
		if known[l.ContainerID] {
			continue
		}
		b, err := s.readopt(l)
		if err == nil && b != nil {
			found[b.container] = b.published
		}
		if err != nil {
			s.log.Warn("restore network of container", "container", l.ContainerID, "error", err)
		}
	}
	if err := s.net.fire.rebuild(found); err != nil {
		return err
	}
	s.mu.Lock()
	s.restored = true
	s.mu.Unlock()
	return s.removeStale()
}

// forgetDead dissolves the boxes that are not among the living and names those
// that stay.
func (s *Service) forgetDead(live []engine.LiveSandbox) (map[string]bool, error) {
	alive := make(map[string]bool, len(live))
	for _, l := range live {
		alive[l.ContainerID] = true
	}
	known := map[string]bool{}
	var dead []*box
	s.mu.Lock()
	for id, b := range s.boxes {
		switch {
		case alive[id] || !b.ready: // one that is being attached is not dead
			known[id] = true
		default:
			dead = append(dead, b)
			delete(s.boxes, id)
		}
	}
	s.mu.Unlock()
	var err error
	for _, b := range dead {
		err = errors.Join(err, s.dissolve(b))
	}
	return known, err
}

// readopt takes over one container of an earlier daemon; nil if it is none of ours.
func (s *Service) readopt(l engine.LiveSandbox) (*box, error) {
	var e *networktypes.EndpointSettings
	for key, settings := range l.Endpoints {
		if name, err := s.resolve(key); err == nil && name == networktypes.NetworkBridge {
			e = settings
		}
	}
	if e == nil || !e.IPAddress.IsValid() {
		return nil, nil // host, none, or another container's namespace
	}
	port, err := s.findPort(l.Pid)
	if err != nil {
		return nil, err
	}
	b := &box{container: l.ContainerID, name: l.Name, id: e.EndpointID, ip: e.IPAddress, mac: e.MacAddress, port: port, ready: true}
	if err := s.net.addrs.take(b.ip); err != nil {
		// It keeps what it has, but has nothing to give back.
		s.log.Warn("address of live container", "container", b.container, "error", err)
	} else {
		b.owned = true
	}
	var lost []error
	b.published, lost = s.net.ports.readopt(b.ip, livePublications(l.Ports))
	for _, err := range lost {
		s.log.Warn("port of live container", "container", b.container, "error", err)
	}
	s.mu.Lock()
	s.boxes[b.container] = b
	s.mu.Unlock()
	return b, nil
}

// findPort finds the bridge's port that leads to a process, and puts it back on
// the bridge should it have lost it.
func (s *Service) findPort(pid int) (int, error) {
	ns, err := netns.OfPid(pid)
	if err != nil {
		return 0, err
	}
	defer func() { _ = ns.Close() }() // read-only
	if same, err := netns.Same(ns, s.home); err != nil || same {
		return 0, errors.Join(err, fmt.Errorf("process %d has no network namespace of its own", pid))
	}
	var eth, port int
	err = netns.Do(ns, func() error {
		c, err := netlink.Open()
		if err != nil {
			return err
		}
		return errors.Join(c.Do(netlink.GetLink(containerLink, &eth, &port)), c.Close())
	})
	if err != nil || port == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no link to the bridge", pid))
	}
	return port, s.net.links.Do(netlink.LinkMaster(netlink.At(port), s.net.bridge.index))
}

// removeStale deletes ports of the bridge that belong to nobody.
func (s *Service) removeStale() error {
	var ports []netlink.Link
	err := netns.Do(s.home, func() (err error) {
		ports, err = s.net.bridge.ports()
		return err
	})
	if err != nil {
		return err
	}
	var reqs []netlink.Request
	for _, l := range ports {
		if !s.inUse(l) {
			reqs = append(reqs, netlink.DelLink(l.Index))
		}
	}
	return s.net.links.Do(reqs...)
}

// inUse tells whether a port belongs to a container or a spare. Both are looked
// at under one lock: see settle.
func (s *Service) inUse(l netlink.Link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.net.pool.owns(l.Name) {
		return true
	}
	for _, b := range s.boxes {
		if b.port == l.Index {
			return true
		}
	}
	return false
}
