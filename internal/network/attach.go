package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/moby/moby/api/types/events"
	networktypes "github.com/moby/moby/api/types/network"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
)

// Attach makes a container's namespace. Everything is taken back if it fails.
func (s *Service) Attach(ctx context.Context, req engine.NetworkRequest) (_ *engine.Sandbox, err error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	plan, err := s.plan(req)
	if err != nil {
		return nil, err
	}
	b := &box{container: req.ContainerID, name: req.Name, id: randomID()}
	if err := s.enter(b); err != nil {
		return nil, err
	}
	var undo cleanup.Stack
	defer func() {
		if failed := undo.Run(); failed != nil {
			s.log.Warn("undo failed attachment to network", "container", req.ContainerID, "error", failed)
		}
	}()
	undo.PushFunc(func() { s.leave(b.container) })

	ip, ok := s.net.addrs.prefer(req.Preferred[networktypes.NetworkBridge])
	if !ok {
		return nil, errs.New(errs.Internal, "no available IPv4 addresses on this network's address pools: %s (%s)",
			networktypes.NetworkBridge, s.record.Networks[networktypes.NetworkBridge].ID)
	}
	undo.PushFunc(func() { s.net.addrs.release(ip) })
	b.ip, b.owned, b.mac = ip, true, plan.mac
	if b.mac == nil {
		b.mac = networktypes.HardwareAddr(containerMAC(ip))
	}
	if b.published, err = s.publish(ctx, b, plan.publications); err != nil {
		return nil, err
	}
	undo.Push(func(context.Context) error { return s.unpublish(b) })
	sp, err := s.furnish(b, plan)
	if err != nil {
		return nil, err
	}
	undo.PushFunc(func() { s.vacate(sp) })
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := sp.in.Close(); err != nil {
		return nil, fmt.Errorf("close netlink of namespace: %w", err)
	}
	s.settle(b, sp)
	undo.Release()
	return &engine.Sandbox{
		NS: sp.ns, DNS: s.opts.DNS, Ports: portMap(req, b.published),
		Endpoints: map[string]*networktypes.EndpointSettings{networktypes.NetworkBridge: s.endpoint(b, plan.settings)},
	}, nil
}

// Isolated implements engine.Sandboxes.
func (s *Service) Isolated(_ context.Context, users engine.Users) (*os.File, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	switch {
	case users.In != nil:
		return isolated(s.home, inUsers(users.In))
	case users.Mapped:
		return s.mapped.get()
	}
	return s.isolated.get()
}

// attachPlan is a request, understood.
type attachPlan struct {
	settings     *networktypes.EndpointSettings // the caller's, may be nil
	mac          networktypes.HardwareAddr
	publications []publication
	sysctls      map[string]string
	users        engine.Users
}

func (s *Service) plan(req engine.NetworkRequest) (*attachPlan, error) {
	settings, err := s.settingsFor(req.Mode, req.Endpoints)
	if err != nil {
		return nil, err
	}
	p := &attachPlan{settings: settings, sysctls: req.Sysctls, users: req.Users}
	if settings != nil {
		p.mac = settings.MacAddress
	}
	p.publications, err = s.net.policy.planPublications(req)
	return p, err
}

// enter registers a container that is about to be attached.
func (s *Service) enter(b *box) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.restored:
		return errs.New(errs.Unavailable, "the network of earlier containers is not restored yet")
	case s.boxes[b.container] != nil:
		return errs.New(errs.Conflict, "endpoint with name %s already exists in network %s", b.name, networktypes.NetworkBridge)
	}
	s.boxes[b.container] = b
	return nil
}

func (s *Service) leave(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.boxes, container)
}

// settle makes a box that is complete known to others. Its port stops being the
// pool's in the same moment in which it becomes the container's.
func (s *Service) settle(b *box, sp *spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.port, b.ready = sp.port, true
	s.net.pool.disown(sp)
}

// linkLocalBits is the prefix length of link-local addresses.
const linkLocalBits = 16

// furnish gives a prepared namespace the box's addresses.
func (s *Service) furnish(b *box, p *attachPlan) (*spare, error) {
	sp, err := s.net.pool.take(p.users)
	if err != nil {
		return nil, err
	}
	reqs := []netlink.Request{
		netlink.LinkMAC(netlink.At(sp.eth), []byte(b.mac)),
		netlink.AddAddr(sp.eth, netip.PrefixFrom(b.ip, s.net.bridge.subnet.Bits())),
		netlink.AddDefaultRoute(sp.eth, s.net.gateway),
	}
	for _, ip := range linkLocal(p.settings) {
		reqs = append(reqs, netlink.AddAddr(sp.eth, netip.PrefixFrom(ip, linkLocalBits)))
	}
	err = sp.in.Do(reqs...)
	if err == nil && len(p.sysctls) > 0 {
		err = netns.Do(sp.ns, func() error { return applySysctls(p.sysctls) })
	}
	if err != nil {
		s.vacate(sp)
		return nil, err
	}
	return sp, nil
}

// vacate drops a namespace that nobody has seen.
func (s *Service) vacate(sp *spare) {
	s.net.pool.disown(sp)
	s.net.reaper.add(sp.port)
	sp.discard()
}

// publish reserves host ports and directs them to the box.
func (s *Service) publish(ctx context.Context, b *box, pubs []publication) ([]*reservation, error) {
	rs, err := s.net.ports.reserve(ctx, b.ip, pubs)
	if err != nil {
		return nil, publishError(b, err)
	}
	if err := s.net.fire.add(b.container, rs); err != nil {
		s.net.ports.release(rs)
		return nil, publishError(b, err)
	}
	s.forgetFlows(rs)
	return rs, nil
}

func publishError(b *box, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errs.Wrap(errs.Internal, fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", b.name, b.id, err))
}

// unpublish takes ports back, first from the kernel, then from ourselves, so
// that the next one who gets them finds no trace.
func (s *Service) unpublish(b *box) error {
	err := s.net.fire.remove(b.container)
	s.forgetFlows(b.published)
	s.net.ports.release(b.published)
	return err
}

// forgetFlows makes UDP clients that keep sending notice that a port has come
// or gone: the kernel remembers for minutes where their first datagram went.
func (s *Service) forgetFlows(rs []*reservation) {
	udp := map[uint16]struct{}{}
	for _, r := range rs {
		if r.proto == networktypes.UDP {
			udp[r.hostPort] = struct{}{}
		}
	}
	if len(udp) == 0 {
		return
	}
	err := netns.Do(s.home, func() error {
		return netlink.ForgetUDP(func(_ netip.Addr, port uint16) bool { _, ok := udp[port]; return ok })
	})
	if err != nil {
		s.log.Debug("forget UDP flows", "error", err)
	}
}

// endpoint gives Docker's view of a box: the caller's settings with the
// operational data.
func (s *Service) endpoint(b *box, settings *networktypes.EndpointSettings) *networktypes.EndpointSettings {
	e := settings.Copy()
	if e == nil {
		e = &networktypes.EndpointSettings{}
	}
	e.NetworkID = s.record.Networks[networktypes.NetworkBridge].ID
	e.EndpointID = b.id
	e.Gateway = s.net.gateway
	e.IPAddress = b.ip
	e.IPPrefixLen = s.net.bridge.subnet.Bits()
	e.MacAddress = b.mac
	return e
}

// Announce implements engine.Sandboxes.
func (s *Service) Announce(action events.Action, mode, containerID string) {
	name, err := s.resolve(mode)
	if err != nil || s.opts.Events == nil {
		return
	}
	s.opts.Events.Publish(events.NetworkEventType, action, s.record.Networks[name].ID,
		map[string]string{"container": containerID, "name": name, "type": drivers[name]})
}

// Detach frees a container's ports and address and cuts its link off at once;
// the link itself goes with the namespace. Unknown containers are no error.
func (s *Service) Detach(ctx context.Context, containerID string) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.calls.Done()
	s.mu.Lock()
	b := s.boxes[containerID]
	if b == nil || !b.ready {
		s.mu.Unlock()
		return nil
	}
	delete(s.boxes, containerID)
	s.mu.Unlock()
	if err := s.dissolve(b); err != nil {
		return fmt.Errorf("detach container %s from network: %w", containerID, err)
	}
	return nil
}

// dissolve takes everything back that a box has.
func (s *Service) dissolve(b *box) error {
	err := s.unpublish(b)
	if b.port != 0 {
		// The address is free for the next one only when its old owner is silent
		// and forgotten, even if his namespace lives on.
		cut := s.net.links.Do(
			netlink.PortCut(b.port),
			netlink.DelNeighbour(s.net.bridge.index, b.ip),
		)
		if !errors.Is(cut, unix.ENODEV) { // the port has gone with its namespace
			err = errors.Join(err, cut)
		}
		s.net.reaper.add(b.port)
	}
	if b.owned { // after a change of the subnet it may be the bridge's
		s.net.addrs.release(b.ip)
	}
	return err
}
