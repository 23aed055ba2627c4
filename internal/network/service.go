package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"

	networktypes "github.com/moby/moby/api/types/network"

	"github.com/gantry-run/gantry/internal/atomicfile"
	"github.com/gantry-run/gantry/internal/cleanup"
	"github.com/gantry-run/gantry/internal/engine"
	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/netlink"
	"github.com/gantry-run/gantry/internal/linux/netns"
	"github.com/gantry-run/gantry/internal/linux/nft"
)

// Service is the network of one daemon. It is safe for concurrent use, but
// calls for one container must come one after the other.
type Service struct {
	opts   Options
	log    *slog.Logger
	record *record
	home   *os.File // the namespace that everything happens in
	net    *wire    // nil if the network "bridge" is disabled

	restoring sync.Mutex // one Restore at a time

	mu       sync.Mutex
	boxes    map[string]*box // by container ID
	restored bool            // the table in the kernel is ours, not an earlier daemon's
	closed   bool
	isolated *stock[*os.File]
	mapped   *stock[*os.File] // isolated ones in user namespaces of their own
	calls    sync.WaitGroup   // those that Close waits for; none is added once closed
}

// wire is the working part of the network "bridge".
type wire struct {
	bridge  *bridge
	addrs   *addresses
	gateway netip.Addr
	links   *netlink.Conn
	nft     *nft.Conn
	fire    *firewall
	proxy   *proxy // nil: none
	ports   *publisher
	policy  publishPolicy
	pool    *pool
	reaper  *reaper
}

// box is a container's place in the network. ready is false while it is made.
type box struct {
	container string
	name      string
	ready     bool
	id        string // of the endpoint
	ip        netip.Addr
	owned     bool // ip was taken from the addresses and goes back to them
	mac       networktypes.HardwareAddr
	port      int // index of the bridge's port; 0: unknown
	published []*reservation
}

var (
	_ engine.Networks  = (*Service)(nil)
	_ engine.Sandboxes = (*Service)(nil)
)

// New prepares the bridge, the firewall and the pool, in the namespace of the
// calling thread. If an earlier daemon's table is still in place, containers may
// live behind it: then Restore must be called before Attach.
func New(ctx context.Context, o Options) (_ *Service, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{opts: o, log: o.Log, boxes: map[string]*box{}}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make the networks' directory: %w", err)
	}
	atomicfile.Sweep(o.Root)
	if s.record, err = loadRecord(o.Root); err != nil {
		return nil, err
	}
	var undo cleanup.Stack
	defer func() { err = errors.Join(err, undo.Run()) }()
	if s.home, err = netns.Current(); err != nil {
		return nil, err
	}
	undo.Push(func(context.Context) error { return s.home.Close() })
	sizes := o.sizes(isolatedSize)
	s.isolated = newIsolated(s.home, sizes.plain, netns.New, s.log)
	undo.PushFunc(s.isolated.close)
	s.mapped = newIsolated(s.home, sizes.mapped, furnisher(o.NewMapped), s.log)
	undo.PushFunc(s.mapped.close)
	if o.Bridge != BridgeNone {
		err = netns.Do(s.home, func() error { return s.wireUp(&undo) })
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.record.save(o.Root)
	}
	if err != nil {
		return nil, err
	}
	undo.Release()
	return s, nil
}

// wireUp runs on a thread of the home namespace.
func (s *Service) wireUp(undo *cleanup.Stack) (err error) {
	w := &wire{}
	if w.links, err = netlink.Open(); err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return w.links.Close() })
	if w.nft, err = nft.Open(); err != nil {
		return err
	}
	undo.Push(func(context.Context) error { return w.nft.Close() })
	if w.bridge, err = ensureBridge(w.links, s.opts, s.record.Bridge); err != nil {
		return err
	}
	s.record.Bridge = w.bridge.addr
	if err := s.forward(); err != nil {
		return err
	}
	w.gateway = w.bridge.addr.Addr()
	if s.opts.DefaultGateway.IsValid() {
		w.gateway = s.opts.DefaultGateway
	}
	w.addrs = newAddresses(w.bridge.subnet, s.opts.FixedCIDR, w.bridge.addr.Addr(), w.gateway)
	w.fire = newFirewall(w.nft, s.tableSpec(w.bridge))
	if err := s.startTable(w); err != nil {
		return err
	}
	if s.opts.UserlandProxy {
		if w.proxy, err = newProxy(s.home, s.log); err != nil {
			return err
		}
		undo.PushFunc(w.proxy.close)
	}
	w.policy = publishPolicy{defaultIP: s.opts.DefaultBindIP, ipv6: w.proxy != nil && w.bridge.ipv6}
	w.ports = newPublisher(s.home, w.proxy)
	w.reaper = newReaper(w.links, s.log)
	undo.PushFunc(w.reaper.close)
	w.pool = newPool(s.home, w.bridge, s.opts.sizes(s.opts.PoolSize), furnisher(s.opts.NewMapped), s.log)
	undo.PushFunc(w.pool.close)
	s.net = w
	return nil
}

// forward turns forwarding on if it is wanted and off. The intent is on disk
// before the deed.
func (s *Service) forward() error {
	if !s.opts.IPForward {
		return nil
	}
	f, err := planForwarding(s.opts.Bridge)
	if err != nil {
		return fmt.Errorf("look at IP forwarding: %w", err)
	}
	if f == nil {
		return nil
	}
	if s.record.Forward == nil {
		s.record.Forward = f
	}
	if err := s.record.save(s.opts.Root); err != nil {
		return err
	}
	if err := setSysctl(ipForward, "1"); err != nil {
		s.log.Warn("IPv4 forwarding is disabled. Networking will not work.", "error", err)
	}
	return nil
}

func (s *Service) tableSpec(b *bridge) tableSpec {
	spec := tableSpec{bridge: b.name, subnet: b.subnet, icc: s.opts.ICC, masq: s.opts.IPMasq, proxy: s.opts.UserlandProxy, localnet: b.localnet}
	if s.record.Forward != nil {
		spec.closed = s.record.Forward.Links
	}
	return spec
}

// startTable makes the table unless one is there, which live containers may
// need until Restore has told which they are.
func (s *Service) startTable(w *wire) error {
	exists, err := w.nft.Exists(w.fire.table.Name)
	if err != nil {
		return err
	}
	if !exists {
		if err := w.fire.rebuild(nil); err != nil {
			return err
		}
		s.restored = true
	}
	drops, err := w.nft.ForwardDrops()
	if err == nil && len(drops) > 0 {
		s.log.Warn("another firewall drops forwarded packets by default: unless it accepts those of our bridge, containers do not reach the outside",
			"chains", strings.Join(drops, ", "), "bridge", w.bridge.name)
	}
	return nil
}

// Close takes away what is in the kernel if no container lives; otherwise all
// stays as it is, so that containers keep their connections, and a later
// Service finds it again.
func (s *Service) Close(ctx context.Context) error {
	s.restoring.Lock()
	defer s.restoring.Unlock()
	s.mu.Lock()
	done := s.closed
	s.closed = true
	s.mu.Unlock()
	if done {
		return nil
	}
	s.calls.Wait()
	live := len(s.boxes) > 0 || !s.restored
	err := s.stop()
	if s.net != nil && !live {
		err = errors.Join(err, s.net.fire.delete(), s.net.bridge.remove(), netns.Do(s.home, s.unforward))
	}
	return errors.Join(err, s.release())
}

// begin registers a call; every one that succeeds is ended with s.calls.Done.
func (s *Service) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errs.New(errs.Unavailable, "the network is shut down")
	}
	s.calls.Add(1)
	return nil
}

// stop ends all that runs in this process, and nothing else. No call is under way.
func (s *Service) stop() error {
	s.isolated.close()
	s.mapped.close()
	if s.net == nil {
		return nil
	}
	s.net.pool.close()
	s.net.reaper.close()
	for _, b := range s.boxes {
		s.net.ports.release(b.published)
	}
	if s.net.proxy != nil {
		s.net.proxy.close()
	}
	return nil
}

func (s *Service) release() error {
	var err error
	if s.net != nil {
		err = errors.Join(s.net.nft.Close(), s.net.links.Close())
	}
	return errors.Join(err, s.home.Close())
}

// unforward runs on a thread of the home namespace.
func (s *Service) unforward() error {
	if s.record.Forward == nil {
		return nil
	}
	undone, err := undoForwarding(s.record.Forward, s.opts.Bridge)
	if err != nil || !undone {
		return err
	}
	s.record.Forward = nil
	return s.record.save(s.opts.Root)
}
